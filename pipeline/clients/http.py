"""One HTTP session for all APIs: time-outs always, retries by status *and* code, rate limits obeyed, keys scrubbed."""

import json
import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
import requests
import structlog
from requests.adapters import HTTPAdapter

from pipeline.clients.metering import Metering
from pipeline.domain.rate_limit import RateLimit
from pipeline.errors import CriticalError, PermanentError, TransientError

log = structlog.get_logger()

# Solr's time-out comes as HTTP 400 with this code (search contract §1.9): the code decides, not the status.
RETRIED_CODES = frozenset({"504-SA", "503-SA"})
LONGEST_WAIT_S = 3700.0  # a fixed hourly window, and a little
# What no retry can mend: it is the setting that is wrong.
_BAD_SETTINGS = (
    requests.exceptions.InvalidSchema,
    requests.exceptions.MissingSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidHeader,
)
MOST_QUOTA_WAITS = 48  # two days of a quota that is used up whenever we come


@dataclass
class ApiSession:
    """A base address with credentials; safe to share between threads (each gets its own connections).

    `headers` is called before every request, so that a token can be renewed between two of them. `metering` is told of
    every request, so that all processes share one rate limit and a run keeps to its budget.
    """

    base_url: str
    user_agent: str
    timeout_s: float
    attempts: int
    headers: Callable[[], Mapping[str, str]] = dict
    secrets: tuple[str, ...] = ()
    sleep: Callable[[float], None] = time.sleep
    backoff_s: float = 0.5
    metering: Metering = field(default_factory=Metering)
    _local: threading.local = field(default_factory=threading.local, repr=False)

    def request(
        self,
        method: str,
        path: str,
        *,
        retry: bool = True,
        broken: Callable[[requests.Response], bool] = lambda reply: False,
        **options: Any,
    ) -> requests.Response:
        """Send a request and return the reply whatever its status; only passing trouble is retried.

        Network trouble, 5xx and Solr's time-outs cost an attempt each; 429 costs none, it waits for the quota's reset.
        `retry=False` is for calls that must not be repeated blindly (a POST whose reply may be lost). `broken` says of a
        2xx whether it is passing trouble all the same. Raises TransientError when every attempt ended in network trouble.
        """
        extra = options.pop("headers", {})
        attempt, quota_waits = 1, 0
        while True:
            self.metering.before(self.sleep)
            wait, last = self._backoff(attempt), attempt >= self.attempts
            try:
                reply = self._session().request(
                    method,
                    self.base_url + path,
                    timeout=self.timeout_s,
                    allow_redirects=False,  # credentials are for this host alone
                    headers={**self.headers(), **extra},
                    **options,
                )
            except _BAD_SETTINGS as error:
                raise CriticalError(
                    f"{self.base_url}{path}: {self.scrub(str(error))}; check the API's address and key"
                ) from None
            except requests.RequestException as error:
                if last or not retry:
                    why = self.scrub(_why(error))
                    raise TransientError(f"{method} {self.base_url}{path}: {why}, attempt {attempt}") from None
            else:
                limit = RateLimit.of(reply.headers)
                self.metering.after(limit, refused=reply.status_code == 429)
                if reply.status_code == 429 and self.attempts > 1 and quota_waits < MOST_QUOTA_WAITS:
                    quota_waits += 1
                    attempt -= 1
                    wait = limit.seconds_to_reset()
                    self.metering.check_wait(wait)
                elif last or not retry or not (_worth_retrying(reply) or (reply.status_code < 300 and broken(reply))):
                    return reply
            log.info("api_wait", path=path, attempt=attempt, seconds=round(wait, 1))
            self.sleep(min(wait, LONGEST_WAIT_S))
            attempt += 1

    def json(
        self,
        method: str,
        path: str,
        *,
        read: Callable[[bytes], dict[str, Any] | None] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """A JSON object, or the error that the reply means; `read` may make it of the body in a way of its own.

        TransientError for 5xx, 429, HTML from a gateway or `success: false`; PermanentError for 404 and 410;
        CriticalError for any other refusal (credentials, a malformed request).
        """
        value: dict[str, Any] | None = None

        def broken(reply: requests.Response) -> bool:
            """A gateway's page, a cut body or `success: false` with status 200 (§5.4); keeps what was read."""
            nonlocal value
            value = parsed(reply) if read is None else read(reply.content)
            return value is None or value.get("success") is False

        reply = self.request(method, path, broken=broken, **options)
        if reply.status_code < 300:
            if broken(reply) if value is None else value.get("success") is False:
                raise TransientError(f"{method} {self.base_url}{path}: the reply is not the JSON that was asked for")
            assert value is not None
            return value
        message = self.scrub(f"{method} {self.base_url}{path}: HTTP {reply.status_code} {error_text(reply)}".strip())
        if reply.is_redirect:
            raise CriticalError(f"{message}: it redirects to {self.scrub(reply.headers['Location'])}; check the API's address")
        if reply.status_code in (404, 410):
            raise PermanentError(message)
        if reply.status_code == 429 or _worth_retrying(reply):
            raise TransientError(message)
        raise refusal(message, reply)

    def scrub(self, text: str) -> str:
        """The text without any of our secrets."""
        for secret in self.secrets:
            text = text.replace(secret, "***") if secret else text
        return re.sub(r"(?i)\b(wskey|apikey|api_key|access_token)=[^&\s\"']+", r"\1=***", text)

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = requests.Session()
            session.headers["User-Agent"] = self.user_agent
            session.mount("http://", HTTPAdapter(max_retries=0))
            session.mount("https://", HTTPAdapter(max_retries=0))
            self._local.session = session
        return session

    def _backoff(self, attempt: int) -> float:
        # Jitter, so that workers that failed together do not come back together; it never reaches any data.
        return float(min(60.0, self.backoff_s * 2**attempt) * (0.5 + random.random() / 2))


def refusal(message: str, reply: requests.Response) -> CriticalError:
    """A refusal for good; it carries the reply's own code."""
    error = CriticalError(message)
    error.code = error_code(reply)
    return error


def succeeded(reply: requests.Response) -> bool:
    """Was it done? `Response.ok` is also true of a redirect, behind which nothing was done."""
    return 200 <= reply.status_code < 300


def parsed(reply: requests.Response) -> dict[str, Any] | None:
    """The reply's JSON object, or None when it is anything else (HTML from a gateway, a truncated body)."""
    try:
        value = decoded(reply.content)
    except (requests.RequestException, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def decoded(content: bytes | msgspec.Raw) -> Any:
    """JSON as Python values; ValueError or RecursionError for what is none."""
    try:
        return msgspec.json.decode(content)
    except (ValueError, RecursionError):
        # Half characters and NaN are no JSON to the fast reader, and yet servers send them.
        return json.loads(bytes(content))


def error_text(reply: requests.Response) -> str:
    """`code error message` out of either error format of Europeana's services (search contract §1.9)."""
    value = parsed(reply)
    if value is None:
        return reply.reason or ""
    parts = [str(value[name]) for name in ("code", "error", "message") if value.get(name)]
    return " ".join(dict.fromkeys(parts))


def error_code(reply: requests.Response) -> str:
    """The `code` of an error body; empty where there is none."""
    return str((parsed(reply) or {}).get("code") or "")


def _worth_retrying(reply: requests.Response) -> bool:
    if reply.status_code >= 500 or reply.status_code == 408:
        return True
    return reply.status_code == 400 and error_code(reply) in RETRIED_CODES


def _why(error: requests.RequestException) -> str:
    """Network trouble in a few words that a person can act on."""
    kinds: list[tuple[type[requests.RequestException], str]] = [
        (requests.exceptions.SSLError, "the TLS certificate is not accepted"),
        (requests.exceptions.ConnectTimeout, "no connection in time"),
        (requests.exceptions.Timeout, "no answer in time"),
        (requests.exceptions.ConnectionError, "no connection to the server, or it broke"),
        (requests.exceptions.ContentDecodingError, "the body is cut off"),
        (requests.exceptions.ChunkedEncodingError, "the body is cut off"),
    ]
    return next((text for kind, text in kinds if isinstance(error, kind)), type(error).__name__) + f" ({type(error).__name__})"

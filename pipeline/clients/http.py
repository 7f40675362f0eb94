"""One HTTP session for all APIs: time-outs always, retries by status *and* code, rate limits obeyed, keys scrubbed."""

import random
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import requests
import structlog
from requests.adapters import HTTPAdapter

from pipeline.errors import CriticalError, PermanentError, TransientError

log = structlog.get_logger()

RETRIED_STATUSES = frozenset({500, 502, 503, 504})
# Solr's time-out comes as HTTP 400 with this code (search contract §1.9): the code decides, not the status.
RETRIED_CODES = frozenset({"504-SA", "503-SA"})
LONGEST_WAIT_S = 3700.0  # a fixed hourly window, and a little


@dataclass
class ApiSession:
    """A base address with credentials; safe to share between threads (each gets its own connections).

    `headers` is called before every request, so that a token can be renewed between two of them.
    """

    base_url: str
    user_agent: str
    timeout_s: float
    attempts: int
    headers: Callable[[], Mapping[str, str]] = dict
    secrets: tuple[str, ...] = ()
    sleep: Callable[[float], None] = time.sleep
    _local: threading.local = field(default_factory=threading.local, repr=False)

    def request(self, method: str, path: str, *, retry: bool = True, **options: Any) -> requests.Response:
        """Send a request and return the reply whatever its status; only network trouble, 429 and 5xx are retried.

        `retry=False` is for calls that must not be repeated blindly (a POST whose reply may be lost).
        Raises TransientError when every attempt ended in network trouble.
        """
        extra = options.pop("headers", {})
        for attempt in range(1, self.attempts + 1):
            last = attempt == self.attempts
            try:
                reply = self._session().request(
                    method,
                    self.base_url + path,
                    timeout=self.timeout_s,
                    allow_redirects=False,  # credentials are for this host alone
                    headers={**self.headers(), **extra},
                    **options,
                )
            except requests.RequestException as error:
                if last or not retry:
                    raise TransientError(f"{method} {path}: {self.scrub(type(error).__name__)}, attempt {attempt}") from None
                wait = self._backoff(attempt)
            else:
                if reply.status_code == 429 and not last:
                    wait = _reset_seconds(reply) or self._backoff(attempt)
                elif retry and not last and _worth_retrying(reply):
                    wait = self._backoff(attempt)
                else:
                    return reply
            log.info("api_wait", path=path, attempt=attempt, seconds=round(wait, 1))
            self.sleep(min(wait, LONGEST_WAIT_S))
        raise AssertionError("unreachable: the last attempt returns or raises")

    def json(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """A JSON object, or the error that the reply means.

        TransientError for 5xx, 429, HTML from a gateway or `success: false`; PermanentError for 404 and 410;
        CriticalError for any other refusal (credentials, a malformed request).
        """
        reply = self.request(method, path, **options)
        if reply.status_code < 300:
            value = parsed(reply)
            if value is None or value.get("success") is False:
                raise TransientError(f"{method} {path}: the reply is not the JSON that was asked for")
            return value
        message = self.scrub(f"{method} {path}: HTTP {reply.status_code} {error_text(reply)}".strip())
        if reply.status_code in (404, 410):
            raise PermanentError(message)
        if reply.status_code == 429 or _worth_retrying(reply):
            raise TransientError(message)
        raise CriticalError(message)

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
        return float(min(60.0, 0.5 * 2**attempt) * (0.5 + random.random() / 2))


def parsed(reply: requests.Response) -> dict[str, Any] | None:
    """The reply's JSON object, or None when it is anything else (HTML from a gateway, a truncated body)."""
    try:
        value = reply.json()
    except (requests.RequestException, ValueError):
        return None
    return value if isinstance(value, dict) else None


def error_text(reply: requests.Response) -> str:
    """`code error message` out of either error format of Europeana's services (search contract §1.9)."""
    value = parsed(reply)
    if value is None:
        return reply.reason or ""
    parts = [str(value[name]) for name in ("code", "error", "message") if value.get(name)]
    return " ".join(dict.fromkeys(parts))


def _worth_retrying(reply: requests.Response) -> bool:
    if reply.status_code in RETRIED_STATUSES:
        return True
    return reply.status_code == 400 and (parsed(reply) or {}).get("code") in RETRIED_CODES


def _reset_seconds(reply: requests.Response) -> float | None:
    """`t` of `RateLimit: "personal";r=0;t=42` (search contract §1.3), with a little on top."""
    found = re.search(r"\bt=(\d+)", reply.headers.get("RateLimit", ""))
    return float(found.group(1)) + random.random() if found else None

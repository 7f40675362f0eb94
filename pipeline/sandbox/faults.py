"""Faults on demand: rules that make chosen requests fail as the real platforms do (Europeana contract 5.3, 7.1 point 8;
annotation contract 11 point 11). Which requests they hit depends on the seed and on the order of the requests alone.
"""

import asyncio
import random
import re
import socket
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any, cast

from starlette.types import Message, Receive, Scope, Send

from pipeline.sandbox.fault_replies import IMAGE_PATH, Reply, error_reply, gateway_page, image_reply, tombstone

# Faults that come instead of the answer, and such that change it after the server has done its work.
_INSTEAD = frozenset({"timeout", "reset", "close", "429", "502-html", "503-html", "504-SA", "503-SA", "expired-token"})
_AFTER = frozenset({"lost-reply", "truncated-gzip", "truncated", "slow-body", "repeated-id", "drift", "tombstone"})
_IMAGE = frozenset({"html", "zero", "wrong-type", "octet-stream", "no-robots", "disallow-all"})
NAMES = (*sorted(_INSTEAD | _AFTER | _IMAGE), "slow", "index-lag", "any status from 400 to 599")
_SECONDS = {"timeout": 60.0, "slow": 2.0, "slow-body": 2.0, "429": 1.0, "503": 1.0}
_OWN = "/_sandbox/"
_DRIFT = 5
_DRIPS = 20
_RECORDS = r"^/europeana/(?:api/)?(?:v2/)?(?:record/|search\.json)"
_SEARCH = r"^/europeana/(?:api/|record/)(?:v\d/)?search\.json$"
_RECORD = r"^/europeana/(?:api/)?(?:v2/)?record(?:/v2)?(/[^/]+/[^/]+)\.json$"


class RuleError(ValueError):
    """A rule that makes no sense; the text says why."""


@dataclass
class Rule:
    """One rule: where it applies, what happens, how often.

    `route` is the beginning of a path, or with a leading `^` a regular expression; `by` says whether the die is cast for
    each request (`order`) or once for each path (`path`: the same picture is always broken); `after` lets so many
    matching requests pass first; `times` ends the rule after so many faults.
    """

    route: str
    fault: str
    rate: float = 1.0
    times: int | None = None
    method: str = ""
    seconds: float | None = None
    after: int = 0
    by: str = "order"
    ids: tuple[str, ...] = ()
    matched: int = 0
    fired: int = 0
    _random: random.Random = field(default_factory=random.Random, repr=False)
    _seed: str = ""
    _last: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def read(cls, document: object, seed: int, number: int) -> "Rule":
        """A rule as it came in a request; raises RuleError."""
        if not isinstance(document, dict):
            raise RuleError("a rule is an object")
        kinds: dict[str, tuple[type, ...]] = {
            "route": (str,), "fault": (str, int), "rate": (int, float), "times": (int, type(None)), "method": (str,),
            "seconds": (int, float), "after": (int,), "by": (str,), "ids": (list,),
        }  # fmt: skip
        for name, value in document.items():
            if name not in kinds or not isinstance(value, kinds[name]) or isinstance(value, bool):
                raise RuleError(f"{name!r} is not known or has a wrong type; known: {', '.join(kinds)}")
        rule = cls(
            **{
                **document,
                "route": document.get("route", "/"),
                "fault": str(document.get("fault", "")),
                "ids": tuple(map(str, document.get("ids", ()))),
                "method": document.get("method", "").upper(),
            }
        )
        rule._check()
        rule.seed(seed, number)
        return rule

    def _check(self) -> None:
        if not (self.fault in NAMES or re.fullmatch(r"[45]\d\d", self.fault)) or " " in self.fault:
            raise RuleError(f"unknown fault {self.fault!r}; known: {', '.join(NAMES)}")
        if self.ids and self.fault != "tombstone":
            raise RuleError("ids are of tombstones only")
        if not 0 <= self.rate <= 1 or self.by not in ("order", "path"):
            raise RuleError("rate is between 0 and 1, and by is 'order' or 'path'")
        try:
            re.compile(self.route)
        except re.error as error:
            raise RuleError(f"route is no regular expression: {error}") from error

    def seed(self, seed: int, number: int) -> None:
        """Begin the rule's own row of random numbers."""
        self._seed = f"{seed}/{number}/{self.fault}"
        self._random = random.Random(self._seed)

    def matches(self, method: str, path: str) -> bool:
        """Whether the rule speaks of such a request at all."""
        if self.method not in ("", method):
            return False
        return re.search(self.route, path) is not None if self.route.startswith("^") else path.startswith(self.route)

    def fires(self, path: str) -> bool:
        """Whether this matching request is hit; every call counts."""
        self.matched += 1
        die = random.Random(f"{self._seed}{path}").random() if self.by == "path" else self._random.random()
        if self.matched <= self.after or die >= self.rate or (self.times is not None and self.fired >= self.times):
            return False
        self.fired += 1
        return True

    @property
    def wait_s(self) -> float:
        """The rule's seconds, or what is usual for its fault."""
        return _SECONDS.get(self.fault, 1.0) if self.seconds is None else self.seconds

    def described(self) -> dict[str, Any]:
        """The rule with what it has done so far."""
        names = ("route", "fault", "rate", "times", "method", "seconds", "after", "by", "ids", "matched", "fired")
        return {name: getattr(self, name) for name in names if getattr(self, name) not in (None, "", ())}

    # Changes of an answer that has been made

    def repeat(self, body: dict[str, Any], query: str, *, fires: bool) -> bool:
        """A record of the page before comes again on this page, in addition, as when the index changes meanwhile (1.6)."""
        key = re.sub(r"(^|&)(cursor|start)=[^&]*", "", query)
        before, items = self._last.get(key), body.get("items") or []
        if items:
            self._last[key] = items[-1]
        if not fires or before is None:
            return False
        body["items"] = [before, *items]
        body["itemsCount"] = len(body["items"])
        return True

    def drift(self, body: dict[str, Any]) -> bool:
        """`totalResults` is another one than before; the items stay (1.7, 5.3)."""
        shift = self._random.choice((-1, 1)) * self._random.randint(1, _DRIFT)
        body["totalResults"] = max(0, int(body.get("totalResults", 0)) + shift)
        return True


class Faults:
    """The application with its faults before it: without rules, requests pass untouched."""

    def __init__(self, app: Any, seed: int = 1) -> None:
        self._app = app
        self.rules: list[Rule] = []
        self.seed = seed
        self.gone: set[str] = set()

    def set(self, rules: list[Rule], seed: int) -> None:
        """Replace all rules."""
        self.rules, self.seed, self.gone = rules, seed, set()
        for rule in rules:
            if rule.fault == "tombstone":
                self.gone |= set(rule.ids)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or let it meet the first rule that fires."""
        if scope["type"] == "http":
            # Whoever serves a picture badly on purpose needs the bare connection: `cut` finds it behind this `send`.
            scope["sandbox.send"] = send
            path = scope["path"]
            if self.rules and not path.startswith(_OWN):
                await self._met(scope, receive, send, path)
                return
        await self._app(scope, receive, send)

    async def _met(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        hit, pages = None, []
        for rule in self.rules:
            # These two say what is so, and not what happens to a request.
            if rule.fault == "index-lag" or rule.ids or not rule.matches(scope["method"], path):
                continue
            if rule.fault in ("repeated-id", "drift"):
                if re.match(_SEARCH, path):
                    pages.append((rule, rule.fires(path)))
            elif hit is None and rule.fires(path):
                hit = rule
        if hit is not None and not (hit.fault in _AFTER or hit.fault == "slow"):
            await _instead(hit, scope, receive, send)
            return
        if hit is not None and hit.fault == "slow":
            await asyncio.sleep(hit.wait_s)
            hit = None
        if hit is None and not pages and not (self.gone and re.match(_RECORDS, path)):
            await self._app(scope, receive, send)
            return
        reply = await _answer(self._app, scope, receive)
        self._rewrite(reply, scope, pages, hit)
        await _after(hit.fault if hit else "", hit.wait_s if hit else 0.0, reply, receive, send)

    def _rewrite(self, reply: Reply, scope: Scope, pages: list[tuple[Rule, bool]], hit: Rule | None) -> None:
        """Changes of the JSON of search pages and records."""
        path = scope["path"]
        is_search = re.match(_SEARCH, path) is not None
        record = None if is_search else re.match(_RECORD, path)
        if record and reply.status in (200, 304):
            if hit is not None and hit.fault == "tombstone":
                self.gone.add(record[1])
            if record[1] in self.gone:
                reply.become(410, tombstone(record[1], reply.json()))
        elif is_search and reply.status == 200 and (body := reply.json()):
            changed = False
            for rule, fires in pages:
                if rule.fault == "repeated-id":
                    changed |= rule.repeat(body, scope["query_string"].decode("latin-1"), fires=fires)
                elif fires:
                    changed |= rule.drift(body)
            kept = [item for item in body.get("items", ()) if item.get("id") not in self.gone]
            if removed := len(body.get("items", ())) - len(kept):
                body |= {"items": kept, "itemsCount": len(kept), "totalResults": body["totalResults"] - removed}
                changed = True
            if changed:
                reply.become(200, body)


async def _answer(app: Any, scope: Scope, receive: Receive) -> Reply:
    """What the application answers, whole."""
    reply = Reply(500)

    async def keep(message: Message) -> None:
        if message["type"] == "http.response.start":
            reply.status, reply.headers = message["status"], list(message.get("headers", ()))
        elif message["type"] == "http.response.body":
            reply.body += message.get("body", b"")

    await app(scope, receive, keep)
    return reply


async def _instead(rule: Rule, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer, or do not, without the application having seen the request."""
    path, fault = scope["path"], rule.fault
    if fault == "timeout":
        await hold(receive, rule.wait_s)
    if fault in ("timeout", "reset", "close"):
        await cut(send, receive, reset=fault == "reset")
        return
    if fault in ("502-html", "503-html"):
        reply = gateway_page(int(fault[:3]))
    elif fault in _IMAGE or re.match(IMAGE_PATH, path):
        reply = image_reply(fault, rule.wait_s)
    else:
        reply = error_reply(path, fault, rule.wait_s)
    await reply.send(send)


async def _after(fault: str, seconds: float, reply: Reply, receive: Receive, send: Send) -> None:
    """Send an answer that was made, or lose it on the way."""
    if fault == "lost-reply":
        await cut(send, receive, reset=False)
    elif not reply.body:
        await reply.send(send)
    elif fault == "truncated-gzip":
        packer = zlib.compressobj(wbits=31)
        packed = packer.compress(reply.body) + packer.flush()
        reply.replace("content-encoding", "gzip")
        reply.body = packed[: len(packed) // 2]
        await reply.send(send)
    elif fault == "truncated":
        await reply.send(send, upto=len(reply.body) // 2)
        await cut(send, receive, reset=False)
    elif fault == "slow-body":
        await reply.send(send, upto=0)
        step = max(1, -(-len(reply.body) // _DRIPS))
        for start in range(0, len(reply.body), step):
            await asyncio.sleep(seconds / _DRIPS)
            await send({"type": "http.response.body", "body": reply.body[start : start + step], "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    else:
        await reply.send(send)


async def hold(receive: Receive, seconds: float) -> None:
    """Wait, but not longer than the client."""
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        pass


async def cut(send: Send, receive: Receive, *, reset: bool) -> None:
    """End the connection under the request: with a reset, or as if the server had closed it in good order.

    ASGI has no word for it, so the connection is taken from the server's own request object, whose method `send` is.
    """
    transport = cast(asyncio.Transport, send.__self__.transport)  # type: ignore[attr-defined]
    if reset:
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    else:
        transport.close()
    await hold(receive, 5)


def profile(name: str, seed: int) -> list[Rule]:
    """The rules of a profile; raises RuleError for a name that is none.

    `calm`: none. `flaky`: 2 % of the API's requests meet a fault that passes. `hostile`: 10 % do, and every tenth picture
    is broken for good or now and then.
    """
    if name not in PROFILES:
        raise RuleError(f"unknown profile {name!r}; known: {', '.join(PROFILES)}")
    return [Rule.read(rule, seed, number) for number, rule in enumerate(PROFILES[name])]


_API = "^/(europeana/(api|v2|record|entity|annotation)|auth|with)"
_WRITE = "^/europeana/annotation"


def _transient(share: float) -> list[dict[str, Any]]:
    faults: list[dict[str, Any]] = [
        *({"route": _API, "fault": name} for name in ("500", "502-html", "503", "429", "reset", "close")),
        {"route": _API, "fault": "slow", "seconds": 0.5},
        {"route": "^/europeana/(api|v2|record|entity)", "fault": "truncated-gzip"},
        {"route": _SEARCH, "fault": "504-SA"},
        {"route": _WRITE, "fault": "lost-reply", "method": "POST"},
    ]
    # At most eight of them apply to one request.
    return [{**fault, "rate": share / 8} for fault in faults]


_PICTURES = "/media/"
PROFILES: dict[str, list[dict[str, Any]]] = {
    "calm": [],
    "flaky": _transient(0.02),
    "hostile": [
        *_transient(0.10),
        {"route": _SEARCH, "fault": "repeated-id", "rate": 0.02},
        {"route": _SEARCH, "fault": "drift", "rate": 0.05},
        *(
            {"route": _PICTURES, "fault": fault, "rate": 0.01, "by": "path"}
            for fault in ("403", "404", "410", "451", "html", "zero", "wrong-type", "truncated", "no-robots")
        ),
        *({"route": _PICTURES, "fault": fault, "rate": 0.01} for fault in ("429", "503", "reset")),
        {"route": _PICTURES, "fault": "slow-body", "rate": 0.01, "seconds": 1},
    ],
}

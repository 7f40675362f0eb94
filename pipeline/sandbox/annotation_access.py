"""Who may do what with the Annotation API (annotation contract sections 3 and 4)."""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from pipeline.sandbox.annotation_refusal import DENIED, AnnotationRefusal
from pipeline.sandbox.annotation_rules import Provides, Rules
from pipeline.sandbox.annotation_store import AnnotationStore, Stored
from pipeline.sandbox.tokens import TokenError, Tokens

_NO_KEY = (
    "Invalid apiKey: No authentication information provided, Authorization header not submitted with the request! "
    "No authentication information provided, Authorization header not submitted with the request! "
)
_USER = frozenset({"retrieve", "create", "delete", "update", "report"})
_WHITELIST = {f"whitelist_{name}" for name in ("all", "create", "retrieve", "delete")}
# The table of 4.3; the first role is spelt as the server spells it.
OPERATIONS = {
    "anonimous": frozenset({"retrieve"}),
    "user": _USER,
    "tester": _USER,
    "publisher": _USER,
    "admin": _USER | _WHITELIST | {"admin_all", "write_lock", "write_unlock", "admin_reindex"},
    "moderator": frozenset({"moderation_all"}),
}
_DESPITE_LOCK = ("write_unlock", "admin_reindex")
_ANONYMOUS = "anonymous"
_TEST_CLIENT = "test-client-id"


@dataclass(frozen=True)
class Writer:
    """Who writes, as the token says."""

    user: str
    client: str
    roles: frozenset[str]
    affiliation: str = ""

    @property
    def creator(self) -> dict[str, str]:
        """Always a person, whoever it is (5.6)."""
        return {"id": f"http://data.europeana.eu/user/{self.user}", "type": "Person"}

    @property
    def generator(self) -> dict[str, str]:
        """Always the client of the token."""
        return {"id": f"https://api.europeana.eu/apikey/{self.client}", "type": "Software"}


class AnnotationAccess:
    """The checks on keys and tokens. `auth_disabled` is the real server's own test mode (4.5)."""

    def __init__(
        self, store: AnnotationStore, tokens: Tokens, key: str, *, auth_disabled: bool, provides: Provides | None
    ) -> None:
        self._store = store
        self._tokens = tokens
        self._key = key
        self._auth_disabled = auth_disabled
        self._provides = provides

    def writer(self, request: Request, operation: str) -> Writer:
        """The checks before a write, in the server's order: the lock comes before the token (4.2, 4.4)."""
        if self._store.is_locked and operation not in _DESPITE_LOCK:
            raise AnnotationRefusal("error.userset_lock_maintenance", 423)
        return self.known(request, operation)

    def known(self, request: Request, operation: str) -> Writer:
        """The checks on a token alone, for the reads that need one."""
        header = request.headers.get("authorization")
        writer = _fake(header) if self._auth_disabled else self._from_token(header)
        if not any(operation in OPERATIONS.get(role, ()) for role in writer.roles):
            text = f"{DENIED} Operation not permitted or not GrantedAuthority found for operation:{operation}"
            raise AnnotationRefusal(text, 403)
        return writer

    def _from_token(self, header: str | None) -> Writer:
        scheme, _, token = (header or "").partition(" ")
        if scheme != "Bearer":
            raise AnnotationRefusal(f"{DENIED} Invalid token or ApiKey {_NO_KEY}", 401)
        claims = self._verified(token)
        if not all(claims.get(name) for name in ("sub", "preferred_username", "azp")):
            raise AnnotationRefusal(f"{DENIED} Invalid token or ApiKey", 401, code="401_token_invalid")
        audience = claims.get("aud", [])
        roles = claims.get("resource_access", {}).get("annotations", {}).get("roles", [])
        in_scope = "annotations" in str(claims.get("scope", "")).split()
        if not in_scope or "annotations" not in ([audience] if isinstance(audience, str) else audience) or not roles:
            raise AnnotationRefusal(f"{DENIED} Invalid token or ApiKey, resource access not granted!", 403)
        client = str(claims.get("client_public_id", "null"))
        return Writer(claims["sub"], client, frozenset(roles), str(claims.get("affiliation", "")))

    def _verified(self, token: str) -> dict[str, Any]:
        try:
            return self._tokens.verify(token.strip())
        except TokenError as error:
            raise AnnotationRefusal(f"{DENIED} Invalid token or ApiKey {error}", 401, code=error.code) from error

    def check_reader(self, request: Request) -> None:
        """Reading needs a key: `wskey`, `X-Api-Key`, then the Authorization header (3)."""
        if self._auth_disabled:
            return
        key = request.query_params.get("wskey", request.headers.get("x-api-key"))
        if key is None:
            scheme, _, credential = request.headers.get("authorization", "").partition(" ")
            if scheme == "Bearer":
                self._verified(credential)
                return
            if scheme != "APIKEY":
                raise AnnotationRefusal(_NO_KEY, 401)
            key = credential.strip()
        if not key:
            raise AnnotationRefusal("Empty apiKey!", 401)
        if key != self._key:
            raise AnnotationRefusal(f"Invalid apiKey: {key} {key}", 401, code="401_key_invalid")

    def rules(self, writer: Writer, whitelist: tuple[str, ...]) -> Rules:
        """What the validation has to know about who writes (6.3)."""
        return Rules("publisher" in writer.roles, whitelist, writer.affiliation, self._provides)


def _fake(header: str | None) -> Writer:
    """`Bearer userId:userName:role[:apikey[:affiliation]]`; without a header, anonymous who may write (4.5)."""
    if header is None:
        return Writer(_ANONYMOUS, _TEST_CLIENT, frozenset({"user"}))
    scheme, _, token = header.partition(" ")
    parts = token.strip().split(":")
    if scheme != "Bearer" or not 3 <= len(parts) <= 5 or not all(parts[:3]):
        raise AnnotationRefusal(f"{DENIED} Invalid token or ApiKey", 401, code="401_token_invalid")
    return Writer(parts[0], _TEST_CLIENT, frozenset({parts[2]}), parts[4] if len(parts) == 5 else "")


def check_owner(stored: Stored, writer: Writer) -> None:
    """Only the creator, or an admin (4.3)."""
    if stored.creator_uri != writer.creator["id"] and "admin" not in writer.roles:
        text = f"{DENIED} Only the creators of the annotation or admins are authorized to perform this operation."
        raise AnnotationRefusal(text, 403)

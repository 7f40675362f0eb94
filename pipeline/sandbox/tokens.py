"""The token service: a realm that signs JSON Web Tokens with an RSA key (annotation contract section 4).

One client, `sandbox` with the secret `sandbox`; every user name with the password `sandbox`. The users `admin`,
`publisher`, `moderator`, `tester` and `anonimous` (the server's spelling) get the role of their name, all others the
role `user`.
"""

import base64
import binascii
import os
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.sandbox.options import SandboxOptions

CLIENT_ID = "sandbox"
CLIENT_SECRET = "sandbox"
PASSWORD = "sandbox"
REALM = "/auth/realms/europeana"
SCOPES = ("openid", "profile", "email", "annotations")
_ROLES = ("admin", "publisher", "moderator", "tester", "anonimous")
_NAMES = uuid.UUID("6a3d9f6e-6b86-4a1c-9d2d-3d0f3f5d8b11")
_REFRESH_LIFETIME_S = 1800
_KEY_ID = "sandbox"
_REMEMBERED = 256


class TokenError(Exception):
    """A token that is not accepted; `code` is the one of the newer error bodies."""

    def __init__(self, text: str, code: str = "401_token_invalid") -> None:
        super().__init__(text)
        self.code = code


class GrantError(Exception):
    """A token request that is refused (RFC 6749, 5.2)."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.body = {"error": error, "error_description": description}


class Tokens:
    """Makes and verifies tokens; the key lies in the state directory, so tokens survive a restart."""

    def __init__(self, options: SandboxOptions) -> None:
        self.issuer = options.public_url + REALM
        self._lifetime_s = options.token_lifetime_s
        self._key = _signing_key(options.state_dir / "token-key.pem")
        self._public = self._key.public_key()
        # Verifying a signature costs more than all the rest of a write, and a client sends one token many times.
        self._verified: dict[str, dict[str, Any]] = {}
        self._generation = 0

    def expire_issued(self) -> None:
        """From now on every token issued so far has expired, in the middle of whatever its holder does."""
        self._generation += 1

    def verify(self, token: str) -> dict[str, Any]:
        """The claims of a valid access token."""
        claims = self._verified.get(token)
        if claims is None:
            claims = self.read(token)
            if claims.get("typ") != "Bearer":
                raise TokenError("Not an access token")
            if len(self._verified) >= _REMEMBERED:
                self._verified.clear()
            self._verified[token] = claims
        if claims["exp"] <= time.time() or claims.get("generation", 0) < self._generation:
            raise _expired(claims["exp"])
        return claims

    def read(self, token: str) -> dict[str, Any]:
        """The claims of any token of this realm that is signed and not expired."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._public,
                algorithms=["RS256"],
                options={"verify_aud": False, "verify_exp": False, "require": ["exp"]},
            )
        except jwt.InvalidTokenError as error:
            raise TokenError(str(error)) from error
        if claims["exp"] <= time.time():
            raise _expired(claims["exp"])
        return claims

    def sign(self, claims: dict[str, Any], lifetime_s: float) -> str:
        """A token of this realm with the claims that every token has."""
        now = int(time.time())
        common = {"iss": self.issuer, "iat": now, "exp": now + int(lifetime_s), "jti": str(uuid.uuid4())}
        if self._generation:
            common["generation"] = self._generation
        return jwt.encode({**claims, **common}, self._key, algorithm="RS256", headers={"kid": _KEY_ID})

    def grant(self, form: dict[str, str]) -> dict[str, Any]:
        """The answer to a token request whose client is known."""
        match form.get("grant_type"):
            case "client_credentials":
                return self._answer(f"service-account-{CLIENT_ID}", form.get("scope", ""), refreshable=False)
            case "password":
                if not form.get("username") or form.get("password") != PASSWORD:
                    raise GrantError(401, "invalid_grant", "Invalid user credentials")
                return self._answer(form["username"], form.get("scope", ""), refreshable=True)
            case "refresh_token":
                return self._refreshed(form.get("refresh_token", ""))
            case None:
                raise GrantError(400, "invalid_request", "Missing form parameter: grant_type")
            case _:
                raise GrantError(400, "unsupported_grant_type", "Unsupported grant_type")

    def _refreshed(self, refresh_token: str) -> dict[str, Any]:
        try:
            claims = self.read(refresh_token)
        except TokenError as error:
            raise GrantError(400, "invalid_grant", "Invalid refresh token") from error
        if claims.get("typ") != "Refresh":
            raise GrantError(400, "invalid_grant", "Invalid refresh token")
        return self._answer(claims["preferred_username"], claims["scope"], refreshable=True)

    def _answer(self, username: str, scope: str, *, refreshable: bool) -> dict[str, Any]:
        wanted = scope.split()
        if set(wanted) - set(SCOPES):
            raise GrantError(400, "invalid_scope", f"Invalid scopes: {scope}")
        granted = " ".join(dict.fromkeys([*wanted, "profile", "email"]))
        session = str(uuid.uuid4())
        answer = {
            "access_token": self.sign(_claims(username, granted, session), self._lifetime_s),
            "expires_in": self._lifetime_s,
            "refresh_expires_in": 0,
            "token_type": "Bearer",
            "not-before-policy": 0,
            "session_state": session,
            "scope": granted,
        }
        if refreshable:
            refresh = {"typ": "Refresh", "preferred_username": username, "scope": " ".join(wanted), "sid": session}
            answer["refresh_token"] = self.sign(refresh, _REFRESH_LIFETIME_S)
            answer["refresh_expires_in"] = _REFRESH_LIFETIME_S
        return answer

    def jwks(self) -> dict[str, Any]:
        """The public key as a key set."""
        key = jwt.algorithms.RSAAlgorithm.to_jwk(self._public, as_dict=True)
        return {"keys": [{**key, "kid": _KEY_ID, "use": "sig", "alg": "RS256"}]}


def _claims(username: str, scope: str, session: str) -> dict[str, Any]:
    """Every claim that a write demands (contract 4.2). Roles are there whatever the scope; both are checked."""
    claims: dict[str, Any] = {
        "typ": "Bearer",
        "azp": CLIENT_ID,
        "sub": str(uuid.uuid5(_NAMES, username)),
        "preferred_username": username,
        "client_public_id": str(uuid.uuid5(_NAMES, f"client/{CLIENT_ID}")),
        "scope": scope,
        "sid": session,
        "affiliation": "sandbox",
        "aud": "account",
    }
    if "annotations" in scope.split():
        role = username if username in _ROLES else "user"
        claims["aud"] = ["annotations", "account"]
        claims["resource_access"] = {"annotations": {"roles": [role]}}
    return claims


def _expired(expiration: int) -> TokenError:
    text = f"Expired JWT token. Please refresh the token. Expiration time:  {expiration}"
    return TokenError(text, "401_token_expired")


def _signing_key(path: Path) -> rsa.RSAPrivateKey:
    if path.is_file():
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key
    fresh = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = fresh.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
        handle.write(pem)
    return fresh


def routes(tokens: Tokens) -> list[Route]:
    """Token endpoint, key set and discovery document of the realm (contract 4.1)."""
    protocol = f"{REALM}/protocol/openid-connect"

    async def token(request: Request) -> Response:
        form = dict(parse_qsl((await request.body()).decode("utf-8", "replace"), keep_blank_values=True))
        try:
            _check_client(request, form)
            answer = tokens.grant(form)
        except GrantError as error:
            return JSONResponse(error.body, error.status, {"Cache-Control": "no-store"})
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    async def certificates(request: Request) -> Response:
        return JSONResponse(tokens.jwks())

    async def discovery(request: Request) -> Response:
        base = f"{tokens.issuer}/protocol/openid-connect"
        return JSONResponse(
            {
                "issuer": tokens.issuer,
                "token_endpoint": f"{base}/token",
                "jwks_uri": f"{base}/certs",
                "grant_types_supported": ["client_credentials", "password", "refresh_token"],
                "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
                "id_token_signing_alg_values_supported": ["RS256"],
                "response_types_supported": ["none"],
                "subject_types_supported": ["public"],
                "scopes_supported": list(SCOPES),
            }
        )

    return [
        Route(f"{protocol}/token", token, methods=["POST"]),
        Route(f"{protocol}/certs", certificates),
        Route(f"{REALM}/.well-known/openid-configuration", discovery),
    ]


def _check_client(request: Request, form: dict[str, str]) -> None:
    client = (form.get("client_id", ""), form.get("client_secret", ""))
    scheme, _, credential = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            name, _, secret = base64.b64decode(credential, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            name = secret = ""
        client = (name, secret)
    if client != (CLIENT_ID, CLIENT_SECRET):
        raise GrantError(401, "invalid_client", "Invalid client or Invalid client credentials")

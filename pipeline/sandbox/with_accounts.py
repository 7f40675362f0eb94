"""Accounts of the WITH stand-in: sessions, tokens, registration (WITH contract 1.2, 1.3, 1.5).

Every user name with the password `sandbox` is an account, except `nobody`; registered accounts have their own password.
`admin` is a superuser; `visitor` and registered accounts may not create campaigns, all others may.
"""

import hashlib
import re
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.state import State
from pipeline.sandbox.tokens import PASSWORD, TokenError, Tokens
from pipeline.sandbox.with_common import Table, WithError, json_object, needed, object_id

_COOKIE = "PLAY_SESSION"
_WEEK_S = 7 * 86_400
_MISSING_ACCOUNT = "nobody"
_SUPERUSER = "admin"
_VISITOR = "visitor"
_SHORTEST_PASSWORD = 6
_FIELDS = ("email", "firstName", "lastName", "username")


class Accounts:
    """Who asks, and what the platform tells about a user."""

    def __init__(self, state: State, tokens: Tokens, options: SandboxOptions) -> None:
        self._state = state
        self._tokens = tokens
        self._token_lifetime_s = options.with_token_lifetime_s

    def table(self) -> Table:
        """Method, path and handler of each call."""
        return [
            ("POST", "/user/login", self._login),
            ("GET", "/user/loginWithToken", self._login_with_token),
            ("POST", "/user/register", self._register),
            ("GET", "/user/logout", self._logout),
            ("GET", "/user/me", self._me),
            ("GET", "/user/token", self._token),
            ("GET", "/user/byUsername", self._by_username),
            ("GET", "/user/emailAvailable", self._email_available),
        ]

    def user(self, request: Request) -> str | None:
        """Who asks. An expired token or session is no error: the call goes on as anonymous (1.2, 1.3)."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme == "Bearer":
            return self._user_of(token.strip(), "With", is_cookie=False)
        return self._user_of(request.cookies.get(_COOKIE, ""), "WithSession", is_cookie=True)

    def known_user(self, request: Request) -> str:
        """Who asks, for calls that need a login; remembers the name behind the user's id."""
        name = self.user(request)
        if name is None:
            raise WithError(400, "User not logged in")
        self._state.execute("INSERT OR IGNORE INTO with_user (id, name) VALUES (?, ?)", (object_id("user", name), name))
        return name

    def name_of(self, user_id: str) -> str:
        """The user name behind an id; empty for one that never wrote."""
        row = self._state.one("SELECT name FROM with_user WHERE id = ?", (user_id,))
        return str(self.account(row[0])["username"]) if row else ""

    def id_of(self, username: str) -> str | None:
        """The id of the user with this name who has written something or is registered."""
        if self._registered(username):
            return object_id("user", self._canonical(username))
        sql = "SELECT id FROM with_user WHERE name = ? OR substr(name, 1, length(?) + 1) = ? || '@' ORDER BY name LIMIT 1"
        row = self._state.one(sql, (username, username, username))
        return str(row[0]) if row else None

    def is_superuser(self, name: str | None) -> bool:
        """Whether every check lets this user through."""
        return name == _SUPERUSER

    def may_create_campaigns(self, name: str) -> bool:
        """The right `campaignCreationAccess`."""
        return bool(self.account(name)["campaignCreationAccess"])

    def account(self, name: str) -> dict[str, Any]:
        """The user object, without password hash and superuser flag."""
        registered = self._registered(name)
        plain = name.partition("@")[0]
        stored = registered or {
            "username": plain,
            "firstName": plain,
            "lastName": "",
            "email": name if "@" in name else f"{name}@example.org",
        }
        return {
            "dbId": object_id("user", name),
            **stored,
            "campaignCreationAccess": registered is None and plain != _VISITOR,
            "favorites": "",
            "userGroupsIds": [],
            "adminInGroups": [],
        }

    async def _login(self, request: Request) -> Response:
        form = await json_object(request)
        name, password = form.get("email"), form.get("password")
        if not name or not isinstance(name, str):
            raise WithError(400, {"email": "Need Email or Username"})
        if not password:
            raise WithError(400, {"password": "Password is Empty"})
        if name == _MISSING_ACCOUNT:
            raise WithError(400, {"email": "Invalid Email Address or Username"})
        name = self._canonical(name)
        if not self._is_password(name, password):
            raise WithError(400, {"password": "Invalid Password"})
        return self._signed_in(name)

    async def _login_with_token(self, request: Request) -> Response:
        name = self._user_of(needed(request, "token"), "With", is_cookie=False)
        if name is None:
            raise WithError(400, "User not logged in")
        return self._signed_in(name)

    async def _register(self, request: Request) -> Response:
        form = await json_object(request)
        problems: dict[str, str] = {}
        for field in _FIELDS:
            if not form.get(field) or not isinstance(form[field], str):
                problems[field] = f"{field} is Empty"
        password = form.get("password")
        if not isinstance(password, str) or not password:
            problems["password"] = "Password is Empty"
        elif len(password) < _SHORTEST_PASSWORD:
            problems["password"] = f"Password must contain more than {_SHORTEST_PASSWORD} characters"
        if "email" not in problems and not re.fullmatch(r"[^@\s]+@[^@\s]+", form["email"]):
            problems["email"] = "Invalid Email Address"
        if "email" not in problems and self._registered(form["email"]):
            problems["email"] = "Email Address Already in Use"
        if "username" not in problems and self._registered(form["username"]):
            problems["username"] = "Username Already in Use"
        if problems:
            wish = str(form.get("username") or "user")
            raise WithError(400, problems, proposal=[f"{wish}{number}" for number in (1, 2)])
        name = form["username"]
        with self._state.transaction():
            self._state.execute(
                "INSERT INTO with_account (username, email, first_name, last_name, password) VALUES (?, ?, ?, ?, ?)",
                (name, form["email"], form["firstName"], form["lastName"], _hash(name, str(password))),
            )
            self._state.log("with", "register", object_id("user", name), None, {"username": name})
        return self._signed_in(name)

    async def _logout(self, request: Request) -> Response:
        response = Response(status_code=200)
        response.delete_cookie(_COOKIE)
        return response

    async def _me(self, request: Request) -> Response:
        name = self.user(request)
        if name is None:
            raise WithError(400, "User not logged in")
        response = JSONResponse(self.account(name))
        self._keep_session(response, name)
        return response

    async def _token(self, request: Request) -> Response:
        return PlainTextResponse(self._user_token(self.known_user(request)))

    async def _by_username(self, request: Request) -> Response:
        username = needed(request, "username")
        identifier = self.id_of(username)
        if identifier is None:
            raise missing_user(username)
        name = self._state.one("SELECT name FROM with_user WHERE id = ?", (identifier,))
        account = self.account(str(name[0]) if name else self._canonical(username))
        public = ("dbId", "username", "firstName", "lastName")
        return JSONResponse({field: account[field] for field in public})

    async def _email_available(self, request: Request) -> Response:
        if self._registered(needed(request, "email")):
            raise WithError(400, {"email": "Email Address Already in Use"})
        return Response(status_code=200)

    def _signed_in(self, name: str) -> Response:
        response = JSONResponse({**self.account(name), "userToken": self._user_token(name)})
        self._keep_session(response, name)
        return response

    def _user_token(self, name: str) -> str:
        return self._tokens.sign({"typ": "With", "user": name}, self._token_lifetime_s)

    def _keep_session(self, response: Response, name: str) -> None:
        """The session's idle time begins anew; the cookie is readable by scripts, as there."""
        session = self._tokens.sign({"typ": "WithSession", "user": name}, _WEEK_S)
        response.set_cookie(_COOKIE, session, max_age=_WEEK_S)

    def _user_of(self, token: str, kind: str, *, is_cookie: bool) -> str | None:
        try:
            claims = self._tokens.read(token)
        except TokenError as error:
            if is_cookie or error.code == "401_token_expired":
                return None
            raise WithError(500, "Cannot decrypt token") from error
        return str(claims["user"]) if claims.get("typ") == kind else None

    def _registered(self, name: str) -> dict[str, str] | None:
        row = self._state.one(
            "SELECT username, first_name, last_name, email FROM with_account WHERE username = ? OR email = ?", (name, name)
        )
        return dict(zip(("username", "firstName", "lastName", "email"), row, strict=True)) if row else None

    def _canonical(self, name: str) -> str:
        registered = self._registered(name)
        return registered["username"] if registered else name

    def _is_password(self, name: str, password: object) -> bool:
        row = self._state.one("SELECT password FROM with_account WHERE username = ?", (name,))
        if row is None:
            return password == PASSWORD
        return isinstance(password, str) and _hash(name, password) == row[0]


def missing_user(username: str) -> WithError:
    """A user name that nobody has."""
    return WithError(500, f"Cannot retrieve user {username} from database")


def _hash(name: str, password: str) -> str:
    return hashlib.scrypt(password.encode(), salt=name.encode(), n=2**12, r=8, p=1).hex()

"""API keys, quota and error bodies of the Search, Record and Entity APIs (Europeana contract 1.2, 1.3, 1.9)."""

from collections.abc import Awaitable, Callable, Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.quota import Quota
from pipeline.sandbox.tokens import TokenError, Tokens

# The key of somebody whose account was closed.
DISABLED_KEY = "disabled"
MEDIA_TYPE = "application/json;charset=UTF-8"


class Refusal(Exception):
    """An answer other than 2xx, with the fields of its body; empty ones are left out."""

    def __init__(self, status: int, error: str, *, code: str = "", message: str = "") -> None:
        super().__init__(error)
        self.status = status
        self.fields = {"error": error, "message": message, "code": code}


class Gate:
    """Finds the credential of a request, counts it against the key's quota, and refuses what must be refused."""

    def __init__(self, options: SandboxOptions, tokens: Tokens) -> None:
        self._options = options
        self._tokens = tokens
        self._quota = Quota(options.quota, options.quota_window_s)

    def guarded(
        self,
        handler: Callable[[Request, str], Awaitable[Response]],
        refuse: Callable[[Request, Refusal], Response],
    ) -> Callable[[Request], Awaitable[Response]]:
        """A handler that is called with the request's key, and whose refusals become answers."""

        async def answered(request: Request) -> Response:
            try:
                return await handler(request, self.enter(request))
            except Refusal as refusal:
                return refuse(request, refusal)

        return answered

    def enter(self, request: Request) -> str:
        """The key of the request, to be echoed; empty for a bearer token, which needs none and is not counted."""
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            try:
                self._tokens.verify(credential)
            except TokenError as error:
                raise Refusal(401, "Token is invalid", code=error.code, message=str(error)) from error
            return ""
        # The parameter is deprecated; with the option off, the server is as it will be after its removal (1.2).
        takes_parameter = self._options.accept_wskey
        key = (request.query_params.get("wskey") if takes_parameter else None) or request.headers.get("x-api-key")
        if not key and scheme.lower() == "apikey":
            key = credential.strip()
        if not key:
            raise Refusal(401, "Unauthorized", code="invalid_apikey", message="Invalid API key provided!")
        if key == DISABLED_KEY:
            text = "Please register for a new API key"
            raise Refusal(401, "You API key has been disabled", code="401_key_disabled", message=text)
        if key != self._options.key:
            raise Refusal(401, "API key is invalid", code="401_key_invalid", message="Please register for an API key")
        self._count()
        return key

    def _count(self) -> None:
        if not self._quota.take():
            message = "Please use a project key or access tokens"
            raise Refusal(429, self._quota.refusal(), code="429_limit_personal", message=message)

    def headers(self) -> dict[str, str]:
        """The two headers that tell the quota; none when there is no quota."""
        return self._quota.headers()

    def refuse(self, request: Request, refusal: Refusal) -> Response:
        """The error body of the Search and Record APIs: the key only if it was sent as `wskey`."""
        body = {"apikey": request.query_params.get("wskey", ""), "success": False, **refusal.fields}
        return self.reply({name: value for name, value in body.items() if value != ""}, status=refusal.status)

    def reply(self, body: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
        """A JSON answer with the headers that every answer of these APIs has."""
        common = {
            "Allow": "GET, HEAD, POST",
            "Access-Control-Allow-Origin": "*",
            "Access-Control-Expose-Headers": "Allow, Vary, Link, ETag",
            **self.headers(),
            **(headers or {}),
        }
        return JSONResponse(body, status, common, media_type=MEDIA_TYPE)

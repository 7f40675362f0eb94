"""Links within the app. They keep the prefix under which the app is mounted and never name a host."""

from urllib.parse import quote

from fastapi import Request

WEB_SCHEMES = ("http://", "https://")


def link(request: Request, name: str, **values: str) -> str:
    """The path of a route, below the prefix of the mount or the proxy."""
    root = str(request.scope.get("root_path", "")).rstrip("/")
    path = request.app.url_path_for(name, **{key: quote(value, safe="") for key, value in values.items()})
    return f"{root}{path}"


def record_link(request: Request, name: str, record_id: str) -> str:
    """The path of a route that is about a record: `/dataset/local` fills in its two parameters."""
    _, dataset, local = record_id.split("/", 2)
    return link(request, name, dataset=dataset, local=local)


def web_address(address: str | None) -> str | None:
    """The address if it may be followed from a page: http(s) only, so that harvested text cannot run as script."""
    return address if address and address.lower().startswith(WEB_SCHEMES) else None

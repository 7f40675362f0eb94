"""The pictures of the collection as institutions serve them, and Europeana's Thumbnail API (Europeana contract 3.1, 5.1)."""

import html
import re
import zlib
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from pipeline.sandbox.catalogue import Catalogue, Record
from pipeline.sandbox.pictures import content_type, icon, thumbnail

# Up to this size a file is read in one go, which is several times faster than streaming it.
_READ_WHOLE = 4 * 1024 * 1024
_CACHED = {"Cache-Control": "public, max-age=604800, must-revalidate"}
_WIDTHS = {"w200": 200, "200": 200, "w400": 400, "400": 400}


def routes(catalogue: Catalogue, cache: Path) -> list[Route]:
    """Pictures as their institutions serve them, and thumbnails as Europeana does."""

    async def media(request: Request) -> Response:
        # The raw path is compared: it is the one that stands in the records' links.
        record = catalogue.by_media.get(request.scope["raw_path"].decode("latin-1").partition("/media/")[2])
        if record is None or record.path is None or not record.path.is_file():
            return _not_found()
        return _file(request, record.path)

    async def landing(request: Request) -> Response:
        record = catalogue.records.get("/{dataset}/{local}".format(**request.path_params))
        if record is None:
            return _not_found()
        title = html.escape(record.row.title or record.id)
        return HTMLResponse(f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{title}</body></html>")

    async def thumbnail_v2(request: Request) -> Response:
        uri = request.query_params.get("uri", "")
        width = _WIDTHS.get(request.query_params.get("size", "w400"))
        if width is None or not re.match(r"(https?|ftp|urn):", uri):
            return JSONResponse({"error": "Bad Request", "message": "INVALID size or uri"}, 400)
        found = await _small(catalogue.by_address.get(uri), width, cache)
        return _thumbnail(request, *(found or (icon(request.query_params.get("type", "IMAGE").upper()), "image/png")))

    async def thumbnail_v3(request: Request) -> Response:
        width = _WIDTHS.get(request.path_params["size"]) if request.path_params["size"].isdigit() else None
        name = re.fullmatch(r"([0-9a-f]{32})(\.(jpe?g|png|webp))?", request.path_params["name"])
        if width is None or name is None:
            return JSONResponse({"error": "Bad Request", "message": "Invalid size or media id"}, 400)
        found = await _small(catalogue.by_md5.get(name[1]), width, cache)
        if found is None:
            return JSONResponse({"status": 404, "error": "Not Found", "message": "Media file not found"}, 404)
        return _thumbnail(request, *found)

    return [
        Route("/media/{path:path}", media),
        Route("/landing/{dataset}/{local}", landing),
        Route("/europeana/thumbnail/v2/url.json", thumbnail_v2),
        Route("/europeana/api/v2/thumbnail-by-url.json", thumbnail_v2),
        Route("/europeana/thumbnail/v3/{size}/{name}", thumbnail_v3),
    ]


def _not_found() -> Response:
    return HTMLResponse("<!DOCTYPE html><html><body><h1>404 Not Found</h1></body></html>", 404)


def _file(request: Request, path: Path) -> Response:
    """The bytes as they are, with the type they really have."""
    status = path.stat()
    headers = {"ETag": f'"{status.st_mtime_ns:x}-{status.st_size:x}"', "Cache-Control": "public, max-age=3600"}
    if _matches(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    if status.st_size <= _READ_WHOLE and "range" not in request.headers:
        content = path.read_bytes()
        return Response(content, media_type=content_type(content[:512]), headers=headers)
    with path.open("rb") as handle:
        media_type = content_type(handle.read(512))
    return FileResponse(path, media_type=media_type, headers=headers)


async def _small(record: Record | None, width: int, cache: Path) -> tuple[bytes, str] | None:
    if record is None or record.path is None:
        return None
    return await run_in_threadpool(thumbnail, record.path, width, cache)


def _thumbnail(request: Request, content: bytes, media_type: str) -> Response:
    headers = {**_CACHED, "ETag": f'"{zlib.crc32(content):x}-{len(content):x}"'}
    if _matches(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


def _matches(request: Request, etag: str) -> bool:
    known = request.headers.get("if-none-match", "")
    return etag in [tag.strip().removeprefix("W/") for tag in known.split(",")]

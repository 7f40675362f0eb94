"""IIIF Image API 2.1, level 1, over the collection's pictures (Europeana contract 3.3).

`/iiif/{dataset}/{local}` is the base that stands in `svcsHasService`; behind it come `info.json` and
`{region}/{size}/{rotation}/{quality}.{format}`.
"""

import io
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from pipeline.sandbox.catalogue import Catalogue
from pipeline.sandbox.options import SandboxOptions
from pipeline.sandbox.pictures import Picture, measure

_LEVEL = "http://iiif.io/api/image/2/level1.json"
_CONTEXT = "http://iiif.io/api/image/2/context.json"
_SUPPORTED = ["regionByPx", "regionSquare", "sizeByW", "sizeByH", "sizeByPct", "sizeByWh", "sizeByConfinedWh", "cors"]
_HEADERS = {"Access-Control-Allow-Origin": "*", "Link": f'<{_LEVEL}>;rel="profile"', "Cache-Control": "public, max-age=86400"}
_SIZES = (200, 400, 800, 1600)
_QUALITY = 85

Box = tuple[int, int, int, int]


class SyntaxRefused(Exception):
    """A request that the server's level does not know; the text says which part."""


def routes(catalogue: Catalogue, options: SandboxOptions) -> list[Route]:
    """The base, the description and the pictures."""

    def found(request: Request) -> tuple[str, Path, Picture] | None:
        name = "{dataset}/{local}".format(**request.path_params)
        record = catalogue.records.get(f"/{name}")
        path = record.path if record else None
        picture = measure(path) if path else None
        return (name, path, picture) if path and picture else None

    async def base(request: Request) -> Response:
        if found(request) is None:
            return _refused(404, "unknown image")
        name = "{dataset}/{local}".format(**request.path_params)
        return RedirectResponse(f"{options.public_url}/iiif/{name}/info.json", 303, _HEADERS)

    async def info(request: Request) -> Response:
        known = found(request)
        if known is None:
            return _refused(404, "unknown image")
        is_linked = "application/ld+json" in request.headers.get("accept", "")
        body = _info(f"{options.public_url}/iiif/{known[0]}", known[2])
        return JSONResponse(body, headers=_HEADERS, media_type="application/ld+json" if is_linked else "application/json")

    async def image(request: Request) -> Response:
        known = found(request)
        if known is None:
            return _refused(404, "unknown image")
        _, path, picture = known
        parts = request.path_params
        try:
            if parts["rotation"] != "0" or parts["file"] not in ("default.jpg", "color.jpg"):
                raise SyntaxRefused("rotation is 0, quality is default, format is jpg")
            box = region(parts["region"], picture.width, picture.height)
            width, height = size(parts["size"], box[2] - box[0], box[3] - box[1])
        except SyntaxRefused as error:
            return _refused(400, str(error))
        content = await run_in_threadpool(_render, path, path.stat().st_mtime_ns, box, width, height)
        return Response(content, headers=_HEADERS, media_type="image/jpeg")

    return [
        Route("/iiif/{dataset}/{local}", base),
        Route("/iiif/{dataset}/{local}/info.json", info),
        Route("/iiif/{dataset}/{local}/{region}/{size}/{rotation}/{file}", image),
    ]


def _refused(status: int, text: str) -> Response:
    return PlainTextResponse(text, status, {"Access-Control-Allow-Origin": "*"})


def _info(identifier: str, picture: Picture) -> dict[str, Any]:
    wide = [width for width in _SIZES if width < picture.width]
    sizes = [{"width": width, "height": max(1, round(picture.height * width / picture.width))} for width in wide]
    return {
        "@context": _CONTEXT,
        "@id": identifier,
        "protocol": "http://iiif.io/api/image",
        "width": picture.width,
        "height": picture.height,
        "sizes": [*sizes, {"width": picture.width, "height": picture.height}],
        "profile": [_LEVEL, {"formats": ["jpg"], "qualities": ["default", "color"], "supports": _SUPPORTED}],
    }


def region(text: str, width: int, height: int) -> Box:
    """Left, top, right, bottom; what lies outside of the picture is cut off (Image API 4.1)."""
    if text == "full":
        return 0, 0, width, height
    if text == "square":
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return left, top, left + side, top + side
    match = re.fullmatch(r"(\d{1,7}),(\d{1,7}),(\d{1,7}),(\d{1,7})", text)
    if match is None:
        raise SyntaxRefused("region is full, square or x,y,w,h")
    left, top, wide, high = map(int, match.groups())
    if wide == 0 or high == 0 or left >= width or top >= height:
        raise SyntaxRefused("the region is empty or outside of the image")
    return left, top, min(width, left + wide), min(height, top + high)


def size(text: str, width: int, height: int) -> tuple[int, int]:
    """Width and height of the answer, never more than the region has (Image API 4.2, without `sizeAboveFull`)."""
    if text in ("max", "full"):
        return width, height
    if match := re.fullmatch(r"!(\d{1,7}),(\d{1,7})", text):
        factor = min(int(match[1]) / width, int(match[2]) / height, 1.0)
        wide, high = max(1, round(width * factor)), max(1, round(height * factor))
        wanted = (wide, high) if min(int(match[1]), int(match[2])) else (0, 0)
    elif match := re.fullmatch(r"pct:(\d{1,3}(?:\.\d{1,10})?)", text):
        factor = float(match[1]) / 100
        wanted = (round(width * factor), round(height * factor)) if factor <= 1 else (0, 0)
    elif (match := re.fullmatch(r"(\d{0,7}),(\d{0,7})", text)) and text != ",":
        wide = int(match[1]) if match[1] else round(width * int(match[2]) / height)
        high = int(match[2]) if match[2] else round(height * int(match[1]) / width)
        # A very flat picture still has one row of pixels.
        wanted = (wide if match[1] else max(1, wide), high if match[2] else max(1, high))
    else:
        raise SyntaxRefused("size is max, w, or ,h or w,h or !w,h or pct:n")
    if not (0 < wanted[0] <= width and 0 < wanted[1] <= height):
        raise SyntaxRefused("the size is zero or larger than the region")
    return wanted


@lru_cache(maxsize=256)
def _render(path: Path, changed: int, box: Box, width: int, height: int) -> bytes:
    with Image.open(path) as image:
        part = image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS, box)
    buffer = io.BytesIO()
    part.save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()

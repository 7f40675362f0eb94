"""What the servers know about a picture file: its real type, its size, and a small rendering of it."""

import hashlib
import io
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw

_SIGNATURES = (
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
    (b"II*\x00", "image/tiff"),
    (b"MM\x00*", "image/tiff"),
    (b"\x00\x00\x00\x0cjP  ", "image/jp2"),
    (b"%PDF-", "application/pdf"),
)
# The last bytes of a complete file: a picture without them was cut off on its way.
_ENDINGS = {"image/jpeg": b"\xff\xd9", "image/png": b"IEND"}
_ENDING_WINDOW = 4096


@dataclass(frozen=True)
class Picture:
    """What could be measured of a readable picture."""

    mime_type: str
    width: int
    height: int
    byte_size: int
    is_grey: bool

    @property
    def megapixels(self) -> float:
        """Area in millions of pixels."""
        return self.width * self.height / 1e6


def content_type(head: bytes) -> str:
    """The type that the first bytes show, whatever the file is called."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    for signature, mime_type in _SIGNATURES:
        if head.startswith(signature):
            return mime_type
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "text/html; charset=utf-8"
    if text.startswith(b"<svg") or (text.startswith(b"<?xml") and b"<svg" in text):
        return "image/svg+xml"
    return "application/octet-stream"


@cache
def measure(path: Path) -> Picture | None:
    """Size and type of a picture, from its header and its end; None when it is missing, cut off or no picture."""
    try:
        with path.open("rb") as handle, warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            mime_type = content_type(handle.read(512))
            size = handle.seek(0, io.SEEK_END)
            handle.seek(max(0, size - _ENDING_WINDOW))
            if _ENDINGS.get(mime_type, b"") not in handle.read():
                return None
            handle.seek(0)
            with Image.open(handle) as image:
                return Picture(mime_type, image.width, image.height, size, image.mode in ("1", "L", "LA"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return None


def thumbnail(path: Path, width: int, folder: Path) -> tuple[bytes, str] | None:
    """The picture at most `width` pixels wide, with its type; None when no thumbnail can be made.

    JPEG, or PNG for PNG sources, never enlarged (Europeana contract 3.1). Made once, then read from `folder`.
    """
    picture = measure(path)
    if picture is None:
        return None
    is_png = picture.mime_type == "image/png"
    name = hashlib.sha256(f"{path.resolve()} {path.stat().st_mtime_ns} {width}".encode()).hexdigest()
    stored = folder / f"{name}.{'png' if is_png else 'jpg'}"
    if not stored.is_file():
        try:
            content = _render(path, width, is_png)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            return None
        folder.mkdir(parents=True, exist_ok=True)
        partial = stored.with_suffix(f".{id(content)}.partial")
        partial.write_bytes(content)
        partial.replace(stored)
    return stored.read_bytes(), "image/png" if is_png else "image/jpeg"


def _render(path: Path, width: int, is_png: bool) -> bytes:
    with Image.open(path) as image:
        image.draft("RGB", (width, width))
        height = max(1, round(image.height * width / image.width))
        small = image.convert("RGB")
        if small.width > width:
            small = small.resize((width, height), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "PNG" if is_png else "JPEG", quality=85)
    return buffer.getvalue()


@cache
def icon() -> bytes:
    """The generic picture that the thumbnail service shows for media it does not know."""
    image = Image.new("RGB", (180, 180), "#f0f0f0")
    draw = ImageDraw.Draw(image)
    draw.rectangle((30, 45, 150, 135), outline="#888888", width=6)
    draw.polygon(((40, 125), (80, 75), (105, 105), (120, 90), (140, 125)), fill="#888888")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()

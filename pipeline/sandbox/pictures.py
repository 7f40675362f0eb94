"""What the servers know about a picture file: its real type, its size, and a small rendering of it; and pictures that are
made on the fly, harmless and hostile ones.
"""

import hashlib
import io
import struct
import warnings
import zlib
from collections.abc import Callable
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


# The sizes in bytes of the real icons: clients know them by these (Europeana contract 3.1).
_ICON_BYTES = {"IMAGE": 2319, "SOUND": 2484, "VIDEO": 1932, "TEXT": 2180, "3D": 3012}
_PNG_END = 12


@cache
def icon(kind: str = "IMAGE") -> bytes:
    """The generic picture that the thumbnail service shows for media it does not know, as long as the real one."""
    image = Image.new("P", (180, 180), 0)
    image.putpalette([240, 240, 240, 136, 136, 136])
    draw = ImageDraw.Draw(image)
    draw.rectangle((30, 45, 150, 135), outline=1, width=6)
    draw.text((70, 80), kind if kind in _ICON_BYTES else "IMAGE", fill=1)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    content = buffer.getvalue()
    missing = _ICON_BYTES.get(kind, _ICON_BYTES["IMAGE"]) - len(content) - _PNG_END
    return content[:-_PNG_END] + _chunk(b"tEXt", b"Comment\0".ljust(missing, b".")) + content[-_PNG_END:]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _scene(width: int = 480, height: int = 360) -> Image.Image:
    """Something with edges and colours, so that no quality check takes it for blank."""
    image = Image.merge("RGB", [Image.linear_gradient("L").resize((width, height)).rotate(turn) for turn in (0, 90, 180)])
    draw = ImageDraw.Draw(image)
    for step in range(8):
        left, top = width * step // 8, height * step // 10
        draw.ellipse((left, top, left + width // 5, top + height // 4), fill=(255 - 30 * step, 30 * step, 120), outline="black")
    return image


def _bomb() -> bytes:
    """A PNG of a few bytes that says it is 50,000 pixels a side, and whose data would unpack to that."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(bytes(1_000_000), 9)) + _chunk(b"IEND", b"")


def _deep() -> bytes:
    """16 bits a sample: the grey gradient of many scanners."""
    grey = Image.linear_gradient("L").resize((480, 360)).convert("I")
    return _saved(grey.point(lambda value: value * 257).convert("I;16"), "TIFF")


def _saved(image: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return _saved(_scene(), "JPEG", exif=exif)


def _alpha() -> Image.Image:
    image = _scene().convert("RGBA")
    image.putalpha(Image.radial_gradient("L").resize(image.size))
    return image


_PAGE = b"<!DOCTYPE html>\n<html><head><title>Viewer</title></head><body><h1>Please use the viewer</h1></body></html>\n"
_MADE: dict[str, Callable[[], bytes]] = {
    "picture.jpg": lambda: _saved(_scene(), "JPEG", quality=90),
    "picture.png": lambda: _saved(_scene(), "PNG"),
    "picture.gif": lambda: _saved(_scene(), "GIF"),
    "picture.webp": lambda: _saved(_scene(), "WEBP"),
    "picture.tif": lambda: _saved(_scene(), "TIFF"),
    "picture.bmp": lambda: _saved(_scene(), "BMP"),
    "grey.jpg": lambda: _saved(_scene().convert("L"), "JPEG"),
    "large.jpg": lambda: _saved(_scene(4000, 3000), "JPEG", quality=90),
    "tiny.jpg": lambda: _saved(_scene(8, 8), "JPEG"),
    "wide.jpg": lambda: _saved(_scene(4000, 40), "JPEG"),
    "blank.jpg": lambda: _saved(Image.new("RGB", (480, 360), "white"), "JPEG"),
    "rotated.jpg": _rotated,
    "cmyk.jpg": lambda: _saved(_scene().convert("CMYK"), "JPEG"),
    "alpha.png": lambda: _saved(_alpha(), "PNG"),
    "16bit.tif": _deep,
    "pages.tif": lambda: _saved(_scene(), "TIFF", save_all=True, append_images=[_scene(360, 480), _scene(100, 100)]),
    "animated.gif": lambda: _saved(_scene(), "GIF", save_all=True, append_images=[_scene().rotate(90)], duration=200, loop=0),
    "bomb.png": _bomb,
    "half.jpg": lambda: made("picture.jpg")[: len(made("picture.jpg")) // 2],
    "page.html": lambda: _PAGE,
    "page.jpg": lambda: _PAGE,
    "empty.jpg": lambda: b"",
}
MADE = tuple(_MADE)


@cache
def _make(name: str) -> bytes:
    return _MADE[name]()


def made(name: str) -> bytes:
    """A picture by its name; a name that stands for none gets the plain picture of its suffix, else a JPEG."""
    plain = f"picture{Path(name).suffix.lower()}"
    return _make(name if name in _MADE else plain if plain in _MADE else "picture.jpg")

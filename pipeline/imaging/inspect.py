"""From bytes to a verdict: the real type by content, bounds before decoding, a full decode, upright sRGB pixels.

Every rejection has its reason; nothing here raises for bad bytes.
"""

import io
import re
import warnings
from dataclasses import dataclass

import simplejpeg
from PIL import ExifTags, Image, ImageCms, ImageFile, ImageStat

from pipeline.domain.outcome import Outcome, Reason

ImageFile.LOAD_TRUNCATED_IMAGES = False
Image.MAX_IMAGE_PIXELS = None  # our own bound is checked on the header, before any decoding

# Grey levels (0–255): a picture below both shows nothing.
NEAR_BLANK_DEVIATION = 2.0
NEAR_BLANK_RANGE = 24.0
_END_OF_IMAGE = 0xD9
_HEADER_MARKERS = frozenset({0xDB, *range(0xE0, 0xF0), 0xC0, 0xC1, 0xC2})  # tables, applications, start of frame
_MARKUP = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<svg", b"<script", b"<body", b"%pdf", b"{")
# Containers of images that Pillow cannot open here: known by their first bytes, so that the reason is honest.
_IMAGE_MAGIC = (b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+", b"8BPS", b"AT&TFORM", b"\x00\x00\x00\x0cjP")
# What brings a picture with this EXIF orientation upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Limits:
    """What counts as a usable picture."""

    min_side_px: int
    max_pixels: int
    max_aspect: float


@dataclass(frozen=True)
class Inspection:
    """The verdict on one file. `picture` is upright RGB, and only there when the outcome is ok."""

    outcome: Outcome
    reason: Reason | None = None
    detail: str = ""
    mime: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    picture: Image.Image | None = None


def inspect_image(content: bytes, limits: Limits, *, target_side_px: int) -> Inspection:
    """Look at a file's bytes; large JPEGs are decoded at the smallest scale that is ≥ `target_side_px`."""
    if not content:
        return _rejected(Reason.NOT_AN_IMAGE, "zero bytes")
    if content[:512].lstrip().lower().startswith(_MARKUP):
        return _rejected(Reason.NOT_AN_IMAGE, "the bytes are markup or a document, not a picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about odd metadata; the verdict says what matters
            return _inspect(content, limits, target_side_px)
    except MemoryError:
        return _rejected(Reason.BOMB, "decoding needs more memory than there is")


def _inspect(content: bytes, limits: Limits, target_side_px: int) -> Inspection:
    try:
        image = Image.open(io.BytesIO(content))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  hostile bytes make a decoder raise anything; the verdict records it
        return _rejected(_unopened(content), str(error).split(" <_io")[0])
    with image:
        mime, (width, height) = Image.MIME.get(image.format or "", "image/unknown"), image.size

        def rejected(reason: Reason, detail: str) -> Inspection:
            return Inspection(Outcome.REJECTED, reason, detail, mime, width, height)

        if problem := _out_of_bounds(width, height, limits):
            return rejected(*problem)
        try:
            picture = upright_rgb(_decoded(image, content, target_side_px), orientation(image))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  hostile bytes make a decoder raise anything; the verdict records it
            return rejected(_undecoded(str(error).lower()), str(error))
        if _nothing_to_see(picture):
            return rejected(Reason.NEAR_BLANK, "one colour all over")
        return Inspection(Outcome.OK, None, "", mime, width, height, picture)


def _out_of_bounds(width: int, height: int, limits: Limits) -> tuple[Reason, str] | None:
    size = f"{width}×{height} px"
    if width * height > limits.max_pixels:
        return Reason.BOMB, f"{size} is more than {limits.max_pixels} pixels"
    if min(width, height) < limits.min_side_px:
        return Reason.TOO_SMALL, f"{size}, the shorter side is below {limits.min_side_px} px"
    if max(width, height) / min(width, height) > limits.max_aspect:
        return Reason.BAD_ASPECT, f"{size} is longer than {limits.max_aspect}:1"
    return None


def _decoded(image: Image.Image, content: bytes, target_side_px: int) -> Image.Image:
    """All pixels of the first frame, or an error: damage anywhere must show."""
    if image.format == "JPEG" and image.mode in ("RGB", "L"):
        # The only decoder that notices damage inside the file; it also decodes at a reduced scale (DCT scaling).
        try:
            pixels = simplejpeg.decode_jpeg(
                content, strict=True, min_height=min(target_side_px, image.height), min_width=min(target_side_px, image.width)
            )
        except ValueError as error:
            image.load()  # a second opinion: says "truncated" when the file ends early
            if not _harmless(str(error), content):
                raise
        else:
            decoded = Image.fromarray(pixels)
            decoded.info = image.info
            return decoded
    if image.tell() != 0:  # frames of a PSD count from 1
        image.seek(0)
    image.load()
    return image


def _harmless(warning: str, content: bytes) -> bool:
    """Stray bytes between the header's segments, or padding (00, FF) before the end, harm nobody."""
    found = re.search(r"(\d+) extraneous bytes before marker (0x[0-9a-f]{2})", warning)
    if found is None:
        return False
    count, marker = int(found.group(1)), int(found.group(2), 16)
    if marker == _END_OF_IMAGE:
        end = content.rfind(b"\xff\xd9")
        return set(content[max(0, end - count) : end]) <= {0x00, 0xFF}
    return marker in _HEADER_MARKERS


def _unopened(content: bytes) -> Reason:
    """Why Pillow cannot even open it: damaged, an image format that it does not know, or no image at all."""
    if content.startswith((b"\x89PNG", b"GIF8", b"\x00\x00\x01\x00")):
        return Reason.CORRUPT
    known = content.startswith(_IMAGE_MAGIC) or content[4:8] == b"ftyp"
    return Reason.UNSUPPORTED_FORMAT if known else Reason.NOT_AN_IMAGE


def _undecoded(error: str) -> Reason:
    if "ghostscript" in error or "cannot find loader" in error:  # pictures that only another program can draw
        return Reason.UNSUPPORTED_FORMAT
    return Reason.TRUNCATED if "trunc" in error or "premature" in error else Reason.CORRUPT


def _nothing_to_see(picture: Image.Image) -> bool:
    """Hardly any spread, and no thin line either: a page with a few words is not blank."""
    small = picture.reduce(max(1, min(picture.size) // 256)).convert("L")
    darkest, lightest = small.getextrema()
    spread = float(lightest) - float(darkest)  # type: ignore[arg-type]
    return spread < NEAR_BLANK_RANGE and max(ImageStat.Stat(small).stddev) < NEAR_BLANK_DEVIATION


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1–8; 1 when there is none or the EXIF block is broken, which is no reason to lose a picture."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  broken EXIF makes Pillow raise anything, struct.error among others
        return 1


def upright_rgb(image: Image.Image, orientation: int = 1) -> Image.Image:
    """Turned upright, ICC profile to sRGB, alpha on white, every mode to RGB."""
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    if image.mode.startswith(("I;16", "I", "F")):
        low, high = image.getextrema()
        scale = 255.0 / (float(high) - float(low) or 1.0)  # type: ignore[arg-type]
        image = image.point(lambda value: value * scale - float(low) * scale).convert("L")  # type: ignore[arg-type]
    image = _to_srgb(image)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "L", "CMYK"):
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image  # a broken profile is no reason to lose the picture
    return converted or image


def _rejected(reason: Reason, detail: str) -> Inspection:
    return Inspection(Outcome.REJECTED, reason, detail)

"""From bytes to a verdict: the real type by content, bounds before decoding, a full decode, upright sRGB pixels.

Every rejection has its reason; nothing here raises for bad bytes. A decoder that crashes or hangs is the matter of
`imaging.examine`, which runs this in a bounded process where that may happen.
"""

import io
import re
import warnings
from dataclasses import dataclass
from math import ceil, log2
from typing import Any

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageStat
from PIL.TiffImagePlugin import TiffImageFile

from pipeline.domain.outcome import Outcome, Reason
from pipeline.imaging.bmp_rle import rle_damage
from pipeline.imaging.colours import rgb
from pipeline.imaging.look import look_at, spread

ImageFile.LOAD_TRUNCATED_IMAGES = False

# What is large comes back at so much more than is kept, as the last shrinking wants something to weigh. (A JPEG's decoder
# shrinks better than that by itself: `make bench BENCH=images` states in dB what is lost.)
OVERSAMPLED = 1.2
# Grey levels (0–255): a picture below both shows nothing.
NEAR_BLANK_DEVIATION = 2.0
NEAR_BLANK_RANGE = 24.0
LOOKED_AT_SIDE = 256  # the shorter side, in pixels, of a grey picture in which a thin line still shows
_JPEGS = ("JPEG", "MPO")  # an MPO is a JPEG with further ones behind it
_MIME = {"MPO": "image/jpeg"}
_JP2_WHOLE_PIXELS = 16_000_000
_END_OF_IMAGE = 0xD9
_HEADER_MARKERS = frozenset({0xDB, *range(0xE0, 0xF0), 0xC0, 0xC1, 0xC2})  # tables, applications, start of frame
_MARKUP = (b"<!doctype", b"<html", b"<head", b"<?xml", b"<svg", b"<script", b"<body", b"%pdf", b"{")
# Containers of images that Pillow cannot open here: known by their first bytes, so that the reason is honest.
_TIFFS = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_IMAGE_MAGIC = (b"\xff\xd8\xff", b"8BPS", b"AT&TFORM", b"\x00\x00\x00\x0cjP", b"\xff\x4f\xff\x51")
_DAMAGED_MAGIC = (b"\x89PNG", b"GIF8", b"\x00\x00\x01\x00", b"BM", *(b"P%d" % kind for kind in range(1, 8)))
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
    """The verdict on one file. `pixels` (height × width × 3, uint8) are upright sRGB, and only there when the outcome is
    ok, as is `look`, a very small grey picture.

    `extent` is the height and width that the picture takes up in `pixels`: a JPEG decoded smaller may end within its last
    row or column. `width_px` and `height_px` are the header's, before any turn; `credit` is what the file itself says of
    its makers.
    """

    outcome: Outcome
    reason: Reason | None = None
    detail: str = ""
    mime: str | None = None
    width_px: int | None = None
    height_px: int | None = None
    pixels: NDArray[np.uint8] | None = None
    extent: tuple[float, float] | None = None
    look: NDArray[np.uint8] | None = None
    credit: str = ""


def inspect_image(content: bytes, limits: Limits, *, target_side_px: int) -> Inspection:
    """Look at a file's bytes; a large picture comes back smaller, its long side still ≥ `target_side_px`."""
    if not content:
        return _rejected(Reason.NOT_AN_IMAGE, "zero bytes")
    if content[:512].lstrip().lower().startswith(_MARKUP):
        return _rejected(Reason.NOT_AN_IMAGE, "the bytes are markup or a document, not a picture")
    Image.MAX_IMAGE_PIXELS = limits.max_pixels  # for pictures inside of containers, whose header we do not see
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about odd metadata; the verdict says what matters
            return _inspect(content, limits, target_side_px)
    except MemoryError:
        return _rejected(Reason.BOMB, "decoding needs more memory than a picture may take")


def _inspect(content: bytes, limits: Limits, target_side_px: int) -> Inspection:
    try:
        image = Image.open(io.BytesIO(content))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  hostile bytes make a decoder raise anything; the verdict records it
        return _unopened(content, error)
    with image:
        mime = _MIME.get(image.format or "", Image.MIME.get(image.format or "", "image/unknown"))
        width, height = image.size

        def rejected(reason: Reason, detail: str) -> Inspection:
            return Inspection(Outcome.REJECTED, reason, detail, mime, width, height)

        if problem := _out_of_bounds(width, height, limits):
            return rejected(*problem)
        try:
            pixels, extent = _pixels(image, content, target_side_px)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  hostile bytes make a decoder raise anything; the verdict records it
            return rejected(_undecoded(image, content, error), str(error))
        look = look_at(pixels)
        if spread(look) < NEAR_BLANK_RANGE and _nothing_to_see(pixels):
            return rejected(Reason.NEAR_BLANK, "one colour all over")
        return Inspection(Outcome.OK, None, "", mime, width, height, pixels, extent, look, credit_of(image))


def _out_of_bounds(width: int, height: int, limits: Limits) -> tuple[Reason, str] | None:
    size = f"{width}×{height} px"
    if width * height > limits.max_pixels:
        return Reason.BOMB, f"{size} is more than {limits.max_pixels} pixels"
    if min(width, height) < limits.min_side_px:
        return Reason.TOO_SMALL, f"{size}, the shorter side is below {limits.min_side_px} px"
    if max(width, height) / min(width, height) > limits.max_aspect:
        return Reason.BAD_ASPECT, f"{size} is longer than {limits.max_aspect}:1"
    return None


def _pixels(image: Image.Image, content: bytes, target_side_px: int) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """All pixels of the first frame, upright, in sRGB, and their extent; or an error: damage anywhere must show."""
    jpeg = image.format in _JPEGS
    decoded = _decoded_jpeg(image, content, target_side_px) if jpeg else _decoded(image, content, target_side_px)
    turn = orientation(image)  # only now: Pillow turns a TIFF by itself when it decodes it
    if isinstance(decoded, np.ndarray):
        if turn not in _TURNS and not image.info.get("icc_profile"):
            # What most museums send is there already, and not copied.
            scale = 1 / _halved(image, target_side_px)
            return decoded, (image.height * scale, image.width * scale)
        decoded = Image.fromarray(decoded)
        decoded.info = image.info
    pixels = np.asarray(upright_rgb(decoded, turn, target_side_px=target_side_px))
    return pixels, (float(pixels.shape[0]), float(pixels.shape[1]))


def _decoded(image: Image.Image, content: bytes, target_side_px: int) -> Image.Image:
    if image.format == "BMP":
        _check_run_lengths(image, content)
    if image.format == "JPEG2000" and image.width * image.height > _JP2_WHOLE_PIXELS:
        _leave_out_details(image, target_side_px)
    image.load()
    return image


def _leave_out_details(image: Image.Image, target_side_px: int) -> None:
    """A large JPEG 2000 without its highest resolutions: its decoder takes 16 bytes a pixel."""
    halvings = int(log2(max(1.0, max(image.size) / (OVERSAMPLED * target_side_px))))
    image.reduce = halvings  # type: ignore[assignment,method-assign]


def _decoded_jpeg(image: Image.Image, content: bytes, target_side_px: int) -> Image.Image | NDArray[np.uint8]:
    """With the only decoder that notices damage inside the file; it also decodes at a reduced scale (DCT scaling)."""
    times = _halved(image, target_side_px)
    height, width = (ceil(side / times) for side in (image.height, image.width))
    if image.mode not in ("RGB", "L"):  # CMYK, YCCK: simplejpeg says whether they are whole, Pillow knows their colours
        _strictly(image, content, colorspace="CMYK", min_height=height, min_width=width)
        image.draft(None, (width, height))
        image.load()
        return image
    # The quick transform is a little coarser; where each pixel kept is the mean of several, nobody sees it.
    options = {"min_height": height, "min_width": width, "fastdct": times > 1}
    pixels: NDArray[np.uint8] | None = _strictly(image, content, **options)
    return image if pixels is None else pixels


def _halved(image: Image.Image, target_side_px: int) -> int:
    """So many times smaller a JPEG is decoded: 1, 2, 4 or 8, whose transforms are vectorised (3/8 takes longer than 1/2)."""
    return max(times for times in (1, 2, 4, 8) if times == 1 or max(image.size) >= times * target_side_px)


def _strictly(image: Image.Image, content: bytes, **options: Any) -> Any:
    """The pixels, or None when the decoder warns of what harms nobody: then Pillow has loaded the image."""
    try:
        return simplejpeg.decode_jpeg(content, strict=True, **options)
    except ValueError as error:
        if "memory" in str(error).lower():
            raise MemoryError from error
        image.load()  # a second opinion: says "truncated" when the file ends early
        if not _harmless(str(error), content):
            raise
    return None


def _check_run_lengths(image: Image.Image, content: bytes) -> None:
    """Raise ValueError for the run-length code of a BMP that does not fit its picture."""
    for tile in getattr(image, "tile", ()):
        if tile.codec_name == "bmp_rle":
            damage = rle_damage(content[tile.offset :], *image.size, nibbles=bool(tile.args[1]))
            if damage:
                raise ValueError(damage)


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


def _unopened(content: bytes, error: Exception) -> Inspection:
    """Why Pillow cannot even open it: a bomb, damaged, an image format that it does not know, or no image at all."""
    detail = str(error).split(" <_io")[0]
    if isinstance(error, Image.DecompressionBombError) or "Decompressed data too large" in detail:
        return Inspection(Outcome.REJECTED, Reason.BOMB, detail, *_header_alone(content))
    if content.startswith(_TIFFS):
        return _rejected(*_unopened_tiff(content))
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return Inspection(Outcome.REJECTED, Reason.CORRUPT, detail, "image/webp", *_webp_size(content))
    if content.startswith(_DAMAGED_MAGIC):
        return _rejected(Reason.CORRUPT, detail)
    known = content.startswith(_IMAGE_MAGIC) or content[4:8] == b"ftyp"
    return _rejected(Reason.UNSUPPORTED_FORMAT if known else Reason.NOT_AN_IMAGE, detail)


def _header_alone(content: bytes) -> tuple[str | None, int | None, int | None]:
    """Type, width and height of what is too large to be opened."""
    Image.MAX_IMAGE_PIXELS = None
    try:
        with Image.open(io.BytesIO(content)) as image:
            return Image.MIME.get(image.format or "", "image/unknown"), *image.size
    except Exception:  # noqa: BLE001  hostile bytes make a decoder raise anything; the verdict is there already
        return None, None, None


def _webp_size(content: bytes) -> tuple[int | None, int | None]:
    """Width and height as a WebP's first chunk states them (VP8X; the others are bounded to 16,383 px by nature)."""
    if content[12:16] == b"VP8X" and len(content) >= 30:
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if content[12:16] == b"VP8 " and len(content) >= 30:
        return int.from_bytes(content[26:28], "little") & 0x3FFF, int.from_bytes(content[28:30], "little") & 0x3FFF
    if content[12:16] == b"VP8L" and len(content) >= 25:
        bits = int.from_bytes(content[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return None, None


def _unopened_tiff(content: bytes) -> tuple[Reason, str]:
    """Pillow keeps to itself what is wrong with a TIFF; its plugin says it: a kind that it does not know, or nonsense."""
    try:
        TiffImageFile(io.BytesIO(content))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  hostile bytes make a decoder raise anything; the verdict records it
        known_kind = "unknown pixel mode" not in str(error) and "unknown data organization" not in str(error)
        return (Reason.CORRUPT if known_kind else Reason.UNSUPPORTED_FORMAT), str(error)
    return Reason.CORRUPT, "the TIFF's directory cannot be read"


def _undecoded(image: Image.Image, content: bytes, error: Exception) -> Reason:
    text = str(error).lower()
    if "ghostscript" in text or "cannot find loader" in text:  # pictures that only another program can draw
        return Reason.UNSUPPORTED_FORMAT
    if isinstance(error, Image.DecompressionBombError):
        return Reason.BOMB
    ends_early = image.format == "JPEG2000" and b"\xff\xd9" not in content[-16:]  # without the code stream's end
    return Reason.TRUNCATED if "trunc" in text or "premature" in text or ends_early else Reason.CORRUPT


def _nothing_to_see(pixels: NDArray[np.uint8]) -> bool:
    """Hardly any spread, and no thin line either: a page with a few words is not blank."""
    grey = Image.fromarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))
    grey = grey.reduce(max(1, min(grey.size) // LOOKED_AT_SIDE))
    darkest, lightest = grey.getextrema()
    spread = float(lightest) - float(darkest)  # type: ignore[arg-type]
    return spread < NEAR_BLANK_RANGE and max(ImageStat.Stat(grey).stddev) < NEAR_BLANK_DEVIATION


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1–8; 1 when there is none or the EXIF block is broken, which is no reason to lose a picture."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  broken EXIF makes Pillow raise anything, struct.error among others
        return 1


def credit_of(image: Image.Image) -> str:
    """What the file's own EXIF says of copyright and artist; empty when it says nothing, or cannot be read."""
    try:
        exif = image.getexif()
        found = [str(exif.get(tag, "")).strip("\0 \n") for tag in (ExifTags.Base.Copyright, ExifTags.Base.Artist)]
    except Exception:  # noqa: BLE001  broken EXIF makes Pillow raise anything
        return ""
    return "; ".join(text for text in found if text and text.isprintable())[:500]


def upright_rgb(image: Image.Image, orientation: int = 1, *, target_side_px: int | None = None) -> Image.Image:
    """Turned upright, ICC profile to sRGB, alpha on white, every mode to RGB; smaller where more is not wanted."""
    picture = rgb(image, long_side_px=max(image.size) if target_side_px is None else ceil(OVERSAMPLED * target_side_px))
    return picture.transpose(_TURNS[orientation]) if orientation in _TURNS else picture


def _rejected(reason: Reason, detail: str) -> Inspection:
    return Inspection(Outcome.REJECTED, reason, detail)

"""The normalised derivative (sRGB JPEG, long side bounded), and its attribution."""

import io
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

DERIVATION = 3  # raise it when the same file would come out otherwise: then pictures are made anew
_SMOOTHED = 0.4  # standard deviation of the filter before the shrinking, in pixels for each time that it shrinks
_BINOMIAL = (1.7, 2.1)  # so many times smaller, the weights ¼, ½, ¼ are as good
cv2.setNumThreads(1)  # each picture has its thread already
_START_OF_IMAGE = b"\xff\xd8"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_MOST_XMP_BYTES = 65_000


@dataclass(frozen=True)
class Attribution:
    """What must stay with a picture wherever it goes: its rights statement, where it is from, whose it is."""

    rights: str = ""
    source: str = ""
    provider: str = ""
    credit: str = ""


def normalised_jpeg(
    pixels: NDArray[np.uint8], *, side_px: int, quality: int, extent: tuple[float, float] | None = None
) -> bytes:
    """Upright sRGB pixels (height × width × 3) as a JPEG whose long side is ≤ `side_px`; never enlarged, no metadata.

    `extent` is the height and width that the picture takes up in `pixels`, when that is less than all of them.
    """
    tall, wide = extent or pixels.shape[:2]
    scale = side_px / max(tall, wide)
    if scale < 1:
        height, width = max(1, round(tall * scale)), max(1, round(wide * scale))
        # First smoothed: the quick bilinear filter weighs only the next pixels, which by itself makes moiré.
        smoothed = _smoothed(pixels, 1 / scale)
        # By factors, not to a size: half a pixel's shift towards an edge costs more likeness (1.5 dB) than any filter.
        shrunk = cv2.resize(smoothed, None, fx=width / wide, fy=height / tall, interpolation=cv2.INTER_LINEAR)
        pixels = np.ascontiguousarray(shrunk[:height, :width], np.uint8)
    encoded: bytes = simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling="420")
    return encoded


def _smoothed(pixels: NDArray[np.uint8], times: float) -> NDArray[np.uint8]:
    """Without the details that a picture so many times smaller cannot show."""
    if _BINOMIAL[0] <= times <= _BINOMIAL[1]:
        return np.asarray(cv2.GaussianBlur(pixels, (3, 3), 0), np.uint8)  # about that deviation, in half the time
    deviation = _SMOOTHED * times
    kernel = cv2.getGaussianKernel(2 * max(1, round(2 * deviation)) + 1, deviation)
    return np.asarray(cv2.sepFilter2D(pixels, -1, kernel, kernel), np.uint8)  # half the time of cv2.GaussianBlur


def with_attribution(jpeg: bytes, attribution: Attribution) -> bytes:
    """The JPEG with an XMP packet that says so (xmpRights:WebStatement, dc:source, photoshop:Credit, dc:rights)."""
    attributes = {
        "xmpRights:WebStatement": _plain(attribution.rights),
        "dc:source": _plain(attribution.source),
        "photoshop:Credit": _plain(attribution.provider),
    }
    credit = _plain(attribution.credit)
    named = "".join(f" {name}={quoteattr(value)}" for name, value in attributes.items() if value)
    alt = '<rdf:Alt><rdf:li xml:lang="x-default">{}</rdf:li></rdf:Alt>'
    rights = f"<dc:rights>{alt.format(escape(credit))}</dc:rights>" if credit else ""
    if not named and not rights:
        return jpeg
    packet = (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        ' xmlns:xmpRights="http://ns.adobe.com/xap/1.0/rights/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"'
        f"{named}>{rights}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()
    if len(packet) > _MOST_XMP_BYTES:  # a segment holds no more
        return jpeg
    body = _XMP + packet
    segment = b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body
    # Behind the JFIF segment, which has to be the first.
    at = 2 + 2 + int.from_bytes(jpeg[4:6], "big") if jpeg[2:4] == b"\xff\xe0" else 2
    return jpeg[:at] + segment + jpeg[at:]


def _plain(text: str) -> str:
    """Without what XML does not allow; every kind of space is a space."""
    line = " ".join(text.split())
    return line if line.isprintable() else "".join(letter for letter in line if letter.isprintable())


def decode_derivative(content: bytes) -> Image.Image:
    """A derivative back as RGB pixels."""
    with Image.open(io.BytesIO(content)) as image:
        return image.convert("RGB")

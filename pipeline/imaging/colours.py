"""Every colour mode to sRGB, band by band, so that a large picture needs no second copy of itself."""

import io
from collections.abc import Callable

from PIL import Image, ImageCms

_BAND_PIXELS = 1_000_000
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")


def rgb(image: Image.Image, *, long_side_px: int) -> Image.Image:
    """The picture in RGB, shrunk by a whole factor as long as its long side stays at least `long_side_px`."""
    factor = max(1, max(image.size) // max(1, long_side_px))
    convert = _converter(image)
    if factor == 1 and image.width * image.height <= _BAND_PIXELS:
        return convert(image)
    rows = max(1, _BAND_PIXELS // image.width // factor) * factor
    whole = Image.new("RGB", (-(-image.width // factor), -(-image.height // factor)))
    for top in range(0, image.height, rows):
        band = convert(image.crop((0, top, image.width, min(top + rows, image.height))))
        whole.paste(band.reduce(factor) if factor > 1 else band, (0, top // factor))
    return whole


def _converter(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """What turns this picture's bands into sRGB; decided once, so that all bands are treated alike."""
    if image.mode.startswith(("I;16", "I", "F")):
        low, high = (float(value) for value in image.getextrema())  # type: ignore[arg-type]
        scale = 255.0 / (high - low or 1.0)
        return lambda band: band.point(lambda value: value * scale - low * scale).convert("L").convert("RGB")
    to_srgb = _to_srgb(image)
    if image.mode in _WITH_ALPHA or "transparency" in image.info:
        return lambda band: _on_white(to_srgb(band))
    return lambda band: _as_rgb(to_srgb(band))


def _as_rgb(band: Image.Image) -> Image.Image:
    return band if band.mode == "RGB" else band.convert("RGB")


def _on_white(band: Image.Image) -> Image.Image:
    band = band.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", band.size, "white"), band).convert("RGB")


def _to_srgb(image: Image.Image) -> Callable[[Image.Image], Image.Image]:
    """The profile's transform; the picture as it is where there is no profile, or a broken one."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "L", "CMYK", "LAB"):
        return lambda band: band
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), image.mode, "RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return lambda band: band  # a broken profile is no reason to lose the picture
    return lambda band: ImageCms.applyTransform(band, transform) or band

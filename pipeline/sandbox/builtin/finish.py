"""From the drawn work to the picture file: how it was laid, lit, cut and saved by whoever digitised it."""

import io

import numpy as np
from PIL import Image, ImageFilter

from pipeline.sandbox.builtin.canvas import (
    Floats,
    Plate,
    Rng,
    bytes_of,
    clouds,
    grain,
    limited,
    mesh,
    rgb,
    smooth,
    tint,
    to_image,
    to_pixels,
)

BEDS = ("f4f4f2", "e0ded8", "1b1b1d", "8a8884", "3c3a38", "b9a88c", "6b4f38", "2c3a46", "d8d8da")


def finish(rng: Rng, plate: Plate) -> Image.Image:
    """One picture of the plate. Another generator state gives another picture of the same work."""
    image = to_image(plate.pixels)
    if plate.loose and rng.random() < 0.6:
        image = laid(rng, image)
    else:
        image = trimmed(rng, image, 1.0 if plate.loose else 5.0)
    long = rng.integers(240, 421)
    share = long / max(image.size)
    image = image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.BILINEAR)
    return to_image(lit(rng, to_pixels(image)))


def laid(rng: Rng, image: Image.Image) -> Image.Image:
    """The work on a scanner bed or table, a little askew, with its shadow."""
    bed = bytes_of(tint(rng, BEDS, 0.03))
    edge = [round(image.height * rng.uniform(0.015, 0.11)) for _ in range(4)]
    size = (image.width + edge[0] + edge[1], image.height + edge[2] + edge[3])
    mask = Image.new("L", size)
    mask.paste(255, (edge[0], edge[2], edge[0] + image.width, edge[2] + image.height))
    sheet = Image.new("RGB", size, bed)
    sheet.paste(image, (edge[0], edge[2]))
    angle = rng.uniform(-3.0, 3.0)
    mask = mask.rotate(angle, resample=Image.Resampling.BILINEAR)
    sheet = sheet.rotate(angle, resample=Image.Resampling.BILINEAR, fillcolor=bed)
    ground = Image.new("RGB", size, bed)
    shadow = mask.filter(ImageFilter.GaussianBlur(5)).point([round(level * 0.45) for level in range(256)])
    ground.paste((0, 0, 0), (3, 4), shadow)
    ground.paste(sheet, (0, 0), mask)
    return ground


def trimmed(rng: Rng, image: Image.Image, degrees: float) -> Image.Image:
    """The work cut within its edges, a little askew."""
    image = image.rotate(rng.uniform(-degrees, degrees), resample=Image.Resampling.BILINEAR)
    cut = rng.uniform(0.002, 0.012, 4) * degrees + 0.006  # the corners that turning leaves empty fall away
    width, height = image.size
    return image.crop(
        (round(cut[0] * width), round(cut[1] * height), round((1 - cut[2]) * width), round((1 - cut[3]) * height))
    )


def lit(rng: Rng, pixels: Floats) -> Floats:
    """Light from one side, darker corners, a colour cast, exposure and sensor noise."""
    size = (pixels.shape[0], pixels.shape[1])
    y, x = mesh(size)
    slope = rng.uniform(-0.16, 0.16, 2)
    light = 1 + slope[0] * (y - 0.5) + slope[1] * (x - 0.5) + 0.06 * (clouds(rng, size, 1.5, 1) - np.float32(0.5))
    away = np.hypot(y - 0.5, x - size[1] / size[0] / 2)
    light -= rng.uniform(0, 0.22) * smooth(0.35, 0.95, away)
    warm = rng.uniform(-0.035, 0.045)  # lamps and daylight differ from yellow to blue, hardly in green
    cast = np.array([1 + warm, 1 + rng.uniform(-0.01, 0.01), 1 - warm])
    gamma = rng.uniform(0.85, 1.2)
    exposed = np.clip(pixels, 0, 1) ** gamma * (light[..., None] * cast).astype(np.float32)
    exposed += grain(rng, size, rng.uniform(0.004, 0.02))[..., None]
    return limited(exposed)


def encoded(image: Image.Image, suffix: str, quality: int = 85) -> bytes:
    """The image as the bytes of a JPEG or PNG file."""
    buffer = io.BytesIO()
    if suffix == ".png":
        image.save(buffer, "PNG")
    else:
        image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def uniform(size: tuple[int, int] = (320, 240), colour: str = "c8c8c4") -> Image.Image:
    """A picture of nothing."""
    return Image.new("RGB", size, bytes_of(rgb(colour)))

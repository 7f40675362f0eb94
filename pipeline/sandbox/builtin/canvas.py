"""The tools all families draw with: a supersampled sheet, noise, colours, shading from a height field."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Floats = NDArray[np.float32]
Rng = np.random.Generator
Colour = tuple[float, float, float]
Point = tuple[float, float]

HEIGHT = 340  # of a plate, in pixels; the finish scales it to its final size
OVERSAMPLE = 2  # lines are drawn at twice the size and reduced: PIL does not smooth edges itself


@dataclass(frozen=True)
class Plate:
    """One drawn work: its pixels (height, width, 3; 0–1) and the words a cataloguer would use for it.

    `loose` plates are flat works that may lie on a table or scanner; the others bring their own background.
    """

    pixels: Floats
    title: str
    loose: bool = True


def rgb(text: str) -> Colour:
    """`rgb("d0a080")` → a colour in 0–1."""
    return int(text[0:2], 16) / 255, int(text[2:4], 16) / 255, int(text[4:6], 16) / 255


def pick(rng: Rng, options: Sequence[str]) -> str:
    """One of the options, each as likely as the others."""
    return options[int(rng.integers(len(options)))]


def tint(rng: Rng, options: Sequence[str], spread: float = 0.05) -> Colour:
    """One of the hex colours, moved a little, so that no two pictures have exactly the same."""
    red, green, blue = np.clip(np.array(rgb(pick(rng, options))) + rng.uniform(-spread, spread, 3), 0, 1)
    return float(red), float(green), float(blue)


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """From `first` (share 0) to `second` (share 1)."""
    red, green, blue = (a + (b - a) * share for a, b in zip(first, second, strict=True))
    return red, green, blue


def shade(colour: Colour, factor: float) -> Colour:
    """The colour darker (factor < 1) or lighter (> 1)."""
    red, green, blue = (min(1.0, channel * factor) for channel in colour)
    return red, green, blue


def bytes_of(colour: Colour) -> tuple[int, int, int]:
    """A colour as PIL wants it."""
    red, green, blue = (int(np.clip(channel, 0, 1) * 255) for channel in colour)
    return red, green, blue


def to_image(pixels: Floats) -> Image.Image:
    """Pixels in 0–1 as an RGB image."""
    return Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8))


def to_pixels(image: Image.Image) -> Floats:
    """An RGB or grey image as numbers in 0–1."""
    return np.asarray(image, dtype=np.float32) / np.float32(255)


def plain(size: tuple[int, int], colour: Colour) -> Floats:
    """A field of one colour; `size` is (height, width)."""
    return np.broadcast_to(np.array(colour, dtype=np.float32), (*size, 3)).copy()


def floats(values: ArrayLike) -> Floats:
    """Any numbers as an array of single precision; mixed arithmetic leaves doubles behind."""
    return np.asarray(values, dtype=np.float32)


def limited(values: ArrayLike) -> Floats:
    """Numbers held within 0–1."""
    return floats(np.clip(values, 0, 1))


def paint(base: Floats, colour: Colour, mask: Floats) -> Floats:
    """Lay a colour over the base where the mask says so."""
    share = mask[..., None]
    return floats(base * (1 - share) + np.array(colour, dtype=np.float32) * share)


def stretch(field: Floats, size: tuple[int, int], way: Image.Resampling = Image.Resampling.BICUBIC) -> Floats:
    """Scale a two-dimensional field smoothly to (height, width)."""
    image = Image.fromarray(field).resize((size[1], size[0]), way)
    return np.asarray(image, dtype=np.float32)


def clouds(rng: Rng, size: tuple[int, int], cells: float, octaves: int = 3) -> Floats:
    """Fractal noise in about 0–1 with `cells` lumps along the height."""
    total, weight = np.zeros(size, dtype=np.float32), 0.0
    for octave in range(octaves):
        count = cells * 2**octave
        grid = (max(2, math.ceil(count)), max(2, math.ceil(count * size[1] / size[0])))
        # Only the large lumps are seen as shapes; the small ones may be joined by straight lines, which is faster.
        way = Image.Resampling.BICUBIC if octave == 0 else Image.Resampling.BILINEAR
        total += stretch(rng.random(grid, dtype=np.float32), size, way) * np.float32(0.5**octave)
        weight += 0.5**octave
    return limited(0.5 + (total / np.float32(weight) - 0.5) * 1.5)


def grain(rng: Rng, size: tuple[int, int], amount: float) -> Floats:
    """Grain of one pixel, around 0."""
    return floats(rng.standard_normal(size, dtype=np.float32) * np.float32(amount))


def mesh(size: tuple[int, int]) -> tuple[Floats, Floats]:
    """Coordinates (y, x) of every pixel, in units of the height."""
    rows, columns = size
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    return y / np.float32(rows), x / np.float32(rows)


def blurred(field: Floats, radius: float) -> Floats:
    """A field in 0–1 softened by a Gaussian."""
    image = Image.fromarray((np.clip(field, 0, 1) * 255).astype(np.uint8))
    return to_pixels(image.filter(ImageFilter.GaussianBlur(radius)))


def slopes(height: Floats) -> tuple[Floats, Floats]:
    """How steep the field rises downwards and to the right."""
    return floats(np.gradient(height, axis=0)), floats(np.gradient(height, axis=1))


def relief(height: Floats, angle: float, depth: float) -> Floats:
    """Light on a height field from one side: about 0, positive where the surface turns to the light."""
    down, right = slopes(height)
    light = -(right * math.cos(angle) + down * math.sin(angle)) * depth
    return floats(np.clip(light, -0.6, 0.6))


def smooth(low: float, high: float, value: Floats) -> Floats:
    """0 below `low`, 1 above `high`, soft between."""
    share = limited((value - low) / (high - low))
    return floats(share * share * (3 - 2 * share))


def luminance(pixels: Floats) -> Floats:
    """The brightness of every pixel."""
    return floats(pixels @ np.array([0.3, 0.59, 0.11], dtype=np.float32))


def extent(width: float) -> tuple[int, int]:
    """Height and width in pixels of a plate that is `width` times as wide as high."""
    return HEIGHT, max(8, round(HEIGHT * width))


class Sheet:
    """A drawing surface whose unit is its height: y runs 0–1, x runs 0–`width`."""

    def __init__(self, width: float, ground: Colour | Floats = (0.0, 0.0, 0.0), height: int = HEIGHT) -> None:
        self.width = width
        self.size = (height, max(8, round(height * width)))
        self.scale = height * OVERSAMPLE
        large = (self.size[1] * OVERSAMPLE, self.size[0] * OVERSAMPLE)
        if isinstance(ground, np.ndarray):
            self.image = to_image(ground).resize(large, Image.Resampling.BILINEAR)
        else:
            self.image = Image.new("RGB", large, bytes_of(ground))
        self.draw = ImageDraw.Draw(self.image)

    def points(self, points: Sequence[Point]) -> list[Point]:
        """The points in pixels of the large image."""
        return [(x * self.scale, y * self.scale) for x, y in points]

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """A filled shape."""
        self.draw.polygon(self.points(points), fill=bytes_of(colour))

    def line(self, points: Sequence[Point], colour: Colour, thickness: float = 0.005) -> None:
        """A line through the points."""
        width = max(1, round(thickness * self.scale))
        self.draw.line(self.points(points), fill=bytes_of(colour), width=width, joint="curve")

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """A filled rectangle."""
        if right > left and bottom > top:
            self.draw.rectangle(self.points([(left, top), (right, bottom)]), fill=bytes_of(colour))

    def outline(self, left: float, top: float, right: float, bottom: float, colour: Colour, thickness: float) -> None:
        """The edge of a rectangle."""
        width = max(1, round(thickness * self.scale))
        self.draw.rectangle(self.points([(left, top), (right, bottom)]), outline=bytes_of(colour), width=width)

    def ellipse(self, x: float, y: float, across: float, down: float, colour: Colour) -> None:
        """A filled ellipse around (x, y) with these half-axes."""
        self.draw.ellipse(self.points([(x - across, y - down), (x + across, y + down)]), fill=bytes_of(colour))

    def ring(self, x: float, y: float, radius: float, colour: Colour, thickness: float) -> None:
        """A circle line."""
        width = max(1, round(thickness * self.scale))
        box = self.points([(x - radius, y - radius), (x + radius, y + radius)])
        self.draw.ellipse(box, outline=bytes_of(colour), width=width)

    def arc(
        self, x: float, y: float, across: float, down: float, start: float, end: float, colour: Colour, thickness: float
    ) -> None:
        """Part of an ellipse line, in degrees clockwise from the right."""
        width = max(1, round(thickness * self.scale))
        box = self.points([(x - across, y - down), (x + across, y + down)])
        self.draw.arc(box, start, end, fill=bytes_of(colour), width=width)

    def text(
        self,
        x: float,
        y: float,
        words: str,
        size: float,
        colour: Colour,
        *,
        fit: float = 0.0,
        turn: float = 0.0,
        bold: float = 0.0,
    ) -> None:
        """Words centred on (x, y), letters `size` high; `fit` squeezes or widens them to that width."""
        mask = lettering(words, max(6, round(size * self.scale)), bold)
        if fit:
            mask = mask.resize((max(1, round(fit * self.scale)), mask.height), Image.Resampling.BILINEAR)
        if turn:
            mask = mask.rotate(turn, expand=True, resample=Image.Resampling.BICUBIC)
        corner = (round(x * self.scale - mask.width / 2), round(y * self.scale - mask.height / 2))
        self.image.paste(bytes_of(colour), (*corner, corner[0] + mask.width, corner[1] + mask.height), mask)

    def pixels(self) -> Floats:
        """What was drawn, at the final size, with smooth edges."""
        return to_pixels(self.image.reduce(OVERSAMPLE))

    def mask(self) -> Floats:
        """What was drawn in white on black, as one field."""
        return to_pixels(self.image.convert("L").reduce(OVERSAMPLE))


def lettering(words: str, size: int, bold: float = 0.0) -> Image.Image:
    """Words in the font that Pillow brings along, as a mask cut close."""
    font = ImageFont.load_default(size)
    stroke = round(size * bold)
    left, top, right, bottom = font.getbbox(words, stroke_width=stroke)
    mask = Image.new("L", (max(1, math.ceil(right - left)), max(1, math.ceil(bottom - top))))
    ImageDraw.Draw(mask).text((-left, -top), words, fill=255, font=font, stroke_width=stroke)
    return mask

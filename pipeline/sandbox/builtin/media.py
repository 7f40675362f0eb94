"""How a scene was made: painted, drawn, photographed or printed as a poster."""

import math

import numpy as np
from PIL import Image, ImageFilter

from pipeline.sandbox.builtin.canvas import (
    Colour,
    Floats,
    Plate,
    Rng,
    Sheet,
    blend,
    blurred,
    clouds,
    floats,
    grain,
    limited,
    luminance,
    mesh,
    paint,
    pick,
    plain,
    rgb,
    slopes,
    smooth,
    tint,
    to_image,
    to_pixels,
)

WORDS = ("EXHIBITION", "CONCERT", "SUMMER FAIR", "RAILWAY", "CITY THEATRE", "GRAND BALL", "HARVEST DAY", "SEA COAST",
         "OPEN AIR", "MUSEUM", "FESTIVAL", "SKATING", "CIRCUS", "TRAVEL", "NIGHT TRAIN", "AUTUMN SALE")  # fmt: skip
SMALL = ("DAILY FROM TEN", "EVERY SUNDAY", "ADMISSION FREE", "MAY TO AUGUST", "NEW SERIES", "MAIN HALL", "1926", "1934",
         "FIRST CLASS", "BY STEAMER AND RAIL")  # fmt: skip
# What a print is called, and the colours of its shadows and lights.
PRINTS = {
    "silver": ("gelatin silver print", "0e0e10", "f0f0ee"),
    "sepia": ("toned silver print", "24150c", "f0dfc0"),
    "albumen": ("albumen print", "2e1a1e", "eadfc8"),
    "cyanotype": ("cyanotype", "0a2038", "dfeaf0"),
    "colour": ("colour print", "16181c", "f2ead8"),
}
INKS = ("261d18", "4a3020", "7a3524", "2c3440", "1d1d20")
# The four inks of a poster, from the darkest to the paper.
PRINTING = (
    ("16202e", "241a1e", "1c2a22"),
    ("c8402a", "2a6a8a", "d98a2b", "2f7a52", "8a2f4a"),
    ("e8b23a", "e07a4a", "8ab0a8", "d8a0a0"),
    ("f2e6c8", "f5efe0", "e9e0d0"),
)
PAPERS = ("efe5cd", "e6d6b4", "f2ece0", "c9c4b8", "b9c0bd", "d9c3a0")


def displaced(rng: Rng, pixels: Floats, reach: float, cells: float) -> Floats:
    """Every pixel taken from a place nearby, so that edges run as ragged as a loaded brush leaves them."""
    rows, columns = pixels.shape[:2]
    shift = [(clouds(rng, (rows, columns), cells, 2) - np.float32(0.5)) * np.float32(2 * reach) for _ in range(2)]
    y = np.clip(np.arange(rows)[:, None] + shift[0], 0, rows - 1).astype(np.intp)
    x = np.clip(np.arange(columns)[None, :] + shift[1], 0, columns - 1).astype(np.intp)
    return pixels[y, x]


def strokes(rng: Rng, size: tuple[int, int]) -> Floats:
    """The ridges a brush leaves, around 0, in a direction that wanders."""
    long = 0.5 + 0.5 * rng.random()
    wide = round(max(size) * 1.45)  # enough to be turned and still cover the plate
    field = rng.random((wide // 4, max(4, wide // 25)), dtype=np.float32)
    image = Image.fromarray((field * 255).astype(np.uint8)).resize((wide, wide), Image.Resampling.BILINEAR)
    image = image.rotate(math.degrees(long * rng.choice([-1.0, 1.0])), resample=Image.Resampling.BILINEAR)
    left, top = (wide - size[1]) // 2, (wide - size[0]) // 2
    streaks = to_pixels(image.crop((left, top, left + size[1], top + size[0])))
    return displaced(rng, streaks[..., None], 5.0, 6)[..., 0] - np.float32(0.5)


def painting(rng: Rng, scene: Plate, frame: bool = True) -> Plate:
    """Paint: ragged edges, brush ridges, canvas, varnish, and a frame around most unless `frame` is off."""
    size = (scene.pixels.shape[0], scene.pixels.shape[1])
    pixels = displaced(rng, scene.pixels, rng.uniform(1.6, 3.4), rng.uniform(26, 44))
    grey = luminance(pixels)[..., None]
    pixels = np.clip(grey + (pixels - grey) * np.float32(rng.uniform(1.0, 1.3)), 0, 1)
    ridges = strokes(rng, size)
    drift = np.stack([clouds(rng, size, 14, 2) for _ in range(3)], axis=2) - np.float32(0.5)
    # Each hue lies on in its own thickness, so the colour drifts a little as well as the light.
    pixels = pixels + ridges[..., None] * np.float32(rng.uniform(0.09, 0.17)) + drift * np.float32(0.09)
    varnish = np.array(blend((1, 1, 1), rgb("d9b878"), rng.uniform(0.1, 0.6)), dtype=np.float32)
    pixels = np.clip((pixels - np.float32(0.5)) * np.float32(1.08) + np.float32(0.53), 0, 1) * varnish
    y, x = mesh(size)
    pixels = pixels * (1 + 0.025 * (np.sin(y * 700) * np.sin(x * 700)))[..., None]
    if frame and rng.random() < 0.75:
        pixels = framed(rng, floats(pixels))
    support = pick(rng, ("oil on canvas", "oil on panel", "oil on canvas", "tempera on panel"))
    return Plate(floats(pixels), f"{scene.title}, {support}")


def framed(rng: Rng, pixels: Floats) -> Floats:
    """A moulded wooden or gilded frame, lit from above."""
    rows, columns = pixels.shape[:2]
    width = round(rows * rng.uniform(0.06, 0.11))
    wood = tint(rng, ("b58a3c", "a87b35", "5a3a24", "c09a55", "3a2a20", "7a5230"))
    outer = (rows + 2 * width, columns + 2 * width)
    y, x = np.mgrid[0 : outer[0], 0 : outer[1]].astype(np.float32)
    sides = np.stack([y, outer[0] - 1 - y, x, outer[1] - 1 - x])
    depth = sides.min(axis=0) / width
    facing = np.array([1.0, -0.8, 0.5, -0.5], dtype=np.float32)[sides.argmin(axis=0)]
    waves = rng.uniform(5, 12)
    profile = np.cos(depth * np.float32(waves)) * facing * np.float32(0.32)
    carving = (clouds(rng, outer, 40, 1) - np.float32(0.5)) * np.float32(rng.uniform(0.05, 0.3))
    frame = floats(wood) * (1 + profile + carving + np.float32(0.25) * (depth < 0.1))[..., None]
    frame *= (1 - 0.6 * smooth(0.88, 1.0, depth))[..., None]
    frame[width : width + rows, width : width + columns] = pixels
    return limited(frame)


def drawing(rng: Rng, scene: Plate) -> Plate:
    """Lines along the edges and hatching in the shadows, on toned paper."""
    size = (scene.pixels.shape[0], scene.pixels.shape[1])
    tone = luminance(displaced(rng, scene.pixels, rng.uniform(1.0, 2.2), 12))
    down, right = slopes(blurred(tone, 0.8))
    ink = smooth(0.015, 0.075, np.hypot(down, right))
    # A draughtsman leaves most of the sheet light, however dark the scene is.
    low, high = np.quantile(tone, [0.02, 0.75])
    tone = np.clip((tone - low) / (high - low + np.float32(0.05)), 0, 1) ** np.float32(0.6)
    y, x = mesh(size)
    wobble = clouds(rng, size, 8, 2) * np.float32(3.0)
    pitch, angle = rng.uniform(190, 330), rng.uniform(0.5, 1.1)
    tone = np.clip(tone + (clouds(rng, size, 5, 2) - np.float32(0.5)) * np.float32(0.16), 0, 1)
    for level, turn in ((0.62, 0.0), (0.42, 1.1), (0.26, -0.7)):
        way = x * math.cos(angle + turn) + y * math.sin(angle + turn)
        line = smooth(0.1, 0.8, np.sin(way * np.float32(pitch) + wobble))
        ink = np.maximum(ink, line * smooth(level + 0.03, level - 0.05, tone) * np.float32(0.75))
    # The pencil skips the valleys of the paper, and the sheet stays empty towards its edges.
    ink *= np.float32(0.6) + np.float32(0.4) * clouds(rng, size, 90, 1)
    edge = np.minimum(np.minimum(y, 1 - y), np.minimum(x, x.max() - x)) + (wobble - np.float32(1.5)) * np.float32(0.02)
    ink *= smooth(0.02, 0.02 + rng.uniform(0.03, 0.1), edge)
    paper = plain(size, tint(rng, PAPERS, 0.02)) * (0.93 + 0.1 * clouds(rng, size, 4, 4) + grain(rng, size, 0.012))[..., None]
    colour, strength = tint(rng, INKS, 0.03), rng.uniform(0.75, 0.98)
    pixels = paint(floats(paper), colour, limited(ink * strength))
    if rng.random() < 0.25:  # a light wash of colour
        share = np.float32(rng.uniform(0.12, 0.25))
        pixels = pixels * (1 - share) + pixels * displaced(rng, scene.pixels, 5, 14) * share * np.float32(1.6)
    tool = pick(rng, ("pen and ink", "pencil on paper", "red chalk", "pen and brown ink"))
    return Plate(limited(pixels), f"{scene.title}, {tool}")


def photograph(rng: Rng, scene: Plate) -> Plate:
    """A print: soft, grainy, grey or toned, often with a pale border."""
    size = (scene.pixels.shape[0], scene.pixels.shape[1])
    image = to_image(scene.pixels).filter(ImageFilter.GaussianBlur(rng.uniform(0.7, 1.5)))
    light = 0.72 + 0.5 * clouds(rng, size, 3, 5)
    tone = luminance(to_pixels(image)) * light
    contrast = rng.uniform(1.0, 1.5)
    tone = np.clip((tone - np.float32(0.45)) * np.float32(contrast) + np.float32(rng.uniform(0.42, 0.56)), 0, 1)
    tone = np.clip(tone + grain(rng, size, rng.uniform(0.02, 0.05)), 0, 1)[..., None]
    kind = pick(rng, ("silver", "silver", "sepia", "sepia", "albumen", "cyanotype", "colour"))
    words, *ends = PRINTS[kind]
    dark, bright = (floats(rgb(code)) for code in ends)
    pixels = dark * (1 - tone) + bright * tone
    if kind == "colour":
        pixels = pixels * np.float32(0.45) + to_pixels(image) * light[..., None] * np.float32(0.5)
    y, x = mesh(size)
    away = np.hypot(y - 0.5, x - size[1] / size[0] / 2)
    pixels = pixels * (1 - np.float32(rng.uniform(0.1, 0.6)) * smooth(0.35, 0.85, away))[..., None]
    if rng.random() < 0.6:
        pixels = mounted(rng, floats(pixels))
    return Plate(floats(pixels), f"{scene.title}, {words}")


def mounted(rng: Rng, pixels: Floats) -> Floats:
    """The white border of a print or the card it is mounted on."""
    rows, columns = pixels.shape[:2]
    border = round(rows * rng.uniform(0.03, 0.08))
    foot = border if rng.random() < 0.6 else border * 2
    card = plain((rows + border + foot, columns + 2 * border), tint(rng, ("f2efe6", "e6dcc4", "d8cdb4", "f5f4f0"), 0.02))
    card *= (0.96 + grain(rng, card.shape[:2], 0.008))[..., None]
    card[border : border + rows, border : border + columns] = pixels
    return card


def poster(rng: Rng, scene: Plate | None, width: float) -> Plate:
    """Flat printed colours and large letters; without a scene, shapes take its place."""
    palette = [tint(rng, group, 0.06) for group in PRINTING]
    if scene is None:
        pixels, subject = shapes(rng, width, palette), pick(rng, ("geometric shapes", "rays", "bands of colour"))
    else:
        pixels, subject = flattened(rng, scene.pixels, palette), scene.title[0].lower() + scene.title[1:]
    sheet = Sheet(width, pixels)
    if rng.random() < 0.7:
        sheet.outline(0.012, 0.012, width - 0.012, 0.988, palette[3 if rng.random() < 0.6 else 0], rng.uniform(0.01, 0.03))
    headline = banner(sheet, rng, palette)
    pixels = np.clip(sheet.pixels() * (0.97 + 0.06 * clouds(rng, sheet.size, 30, 2))[..., None], 0, 1)
    return Plate(floats(pixels), f"“{headline.title()}”, poster: {subject}")


def flattened(rng: Rng, pixels: Floats, palette: list[Colour]) -> Floats:
    """The scene in four flat inks, as a lithographer would separate it."""
    tone = blurred(luminance(pixels), 0.9)
    cuts = np.quantile(tone, [rng.uniform(0.12, 0.22), rng.uniform(0.4, 0.5), rng.uniform(0.66, 0.78)])
    return np.array(palette, dtype=np.float32)[np.searchsorted(cuts, tone)]


def shapes(rng: Rng, width: float, palette: list[Colour]) -> Floats:
    """Discs, rays or bands."""
    sheet = Sheet(width, palette[3 if rng.random() < 0.5 else 1])
    kind, x, y = rng.integers(3), rng.uniform(0.3, 0.7) * width, rng.uniform(0.4, 0.6)
    if kind == 0:
        for step, radius in enumerate(np.linspace(0.34, 0.06, int(rng.integers(3, 7)))):
            sheet.ellipse(x, y, float(radius), float(radius), palette[step % 4])
    elif kind == 1:
        for ray in range(0, 24, 2):
            ends = [(x + 2 * math.cos(turn), y + 2 * math.sin(turn)) for turn in (ray * math.pi / 12, (ray + 1) * math.pi / 12)]
            sheet.polygon([(x, y), *ends], palette[2])
        sheet.ellipse(x, y, 0.13, 0.13, palette[0])
    else:
        lean = rng.uniform(-0.6, 0.6)
        for step, left in enumerate(np.linspace(-0.6, width + 0.2, int(rng.integers(6, 11)))):
            foot = float(left) + lean
            sheet.polygon([(float(left), 0), (float(left) + 0.1, 0), (foot + 0.1, 1), (foot, 1)], palette[step % 4])
    return sheet.pixels()


def banner(sheet: Sheet, rng: Rng, palette: list[Colour]) -> str:
    """Big words above or below, small ones opposite; returns the big words."""
    width, words = sheet.width, pick(rng, WORDS)
    top = rng.random() < 0.6
    tall = rng.uniform(0.16, 0.25)
    band, ink = (palette[0], palette[3]) if rng.random() < 0.5 else (palette[3], palette[0])
    if rng.random() < 0.3:
        ink = palette[1]
        band = palette[3]
    low, high = (0.0, tall) if top else (1 - tall, 1.0)
    sheet.box(0, low, width, high, band)
    lines = words.split() if " " in words and rng.random() < 0.5 else [words]
    for number, line in enumerate(lines):
        y = low + tall * (number + 0.5) / len(lines)
        fit = width * min(rng.uniform(0.78, 0.9), 0.16 * len(line) + 0.1)
        sheet.text(width / 2, y, line, tall * 0.8 / len(lines), ink, fit=fit, bold=rng.uniform(0.02, 0.07))
    edge = 1 - tall * 0.32 if top else tall * 0.32
    if rng.random() < 0.85:
        sheet.box(0, edge - tall * 0.3, width, edge + tall * 0.32, band)
        sheet.text(width / 2, edge, pick(rng, SMALL), tall * 0.33, ink, fit=width * rng.uniform(0.5, 0.8), bold=0.03)
    return words

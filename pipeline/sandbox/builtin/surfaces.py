"""Flat works that are their own subject: maps, textiles, inscriptions, manuscripts."""

import math

import numpy as np
from PIL import Image

from pipeline.sandbox.builtin.canvas import (
    Colour,
    Floats,
    Plate,
    Point,
    Rng,
    Sheet,
    blend,
    blurred,
    clouds,
    extent,
    floats,
    grain,
    limited,
    mesh,
    paint,
    pick,
    plain,
    relief,
    rgb,
    shade,
    slopes,
    smooth,
    tint,
    to_image,
)
from pipeline.sandbox.builtin.scenes import ridge

SYLLABLES = ("al", "ber", "dor", "en", "fal", "gar", "hol", "ina", "kel", "lun", "mar", "nor", "or", "pel", "ros",
             "sund", "tal", "um", "ver", "wen", "ost", "by", "ham", "stad")  # fmt: skip
LATIN = ("AVE", "TERRA", "VITA", "ANNO", "LVX", "PAX", "AQVA", "MONS", "SIC", "ET", "IN", "AD", "ARS", "VIA", "FONS",
         "TEMPVS", "HORA", "SOL", "VENTVS", "SILVA", "MARE", "PONS", "NAVIS", "CAMPVS", "ROSA", "STELLA")  # fmt: skip
STONES = {
    "marble": ("dcd8d0", "cfd0d0"),
    "sandstone": ("c49a6a", "b5845a"),
    "granite": ("8f8a88", "a09490"),
    "slate": ("5a626a", "4a5258"),
    "limestone": ("cfc4a8", "bfb294"),
}
CLOTH = ("8a2f33", "2f4a70", "c49a3c", "3f5f48", "d8c8a4", "6a3f5a", "b5623a", "28303c", "a8b0a0", "e6dcc8", "70242a")


def place_name(rng: Rng) -> str:
    """A name of no real place."""
    return "".join(pick(rng, SYLLABLES) for _ in range(int(rng.integers(2, 4)))).capitalize()


def chart(rng: Rng, width: float, spare: bool = False) -> Plate:
    """A map: coast, sea lines, rivers, roads, places with names, grid, compass and neat line; a `spare` one has fewer
    lines, for media that would clog.
    """
    size = extent(width)
    field = clouds(rng, size, rng.uniform(1.2, 2.6), 5)
    level = float(np.quantile(field, rng.uniform(0.25, 0.55)))
    land = smooth(level - 0.004, level + 0.004, field)
    paper = tint(rng, ("efe3c4", "f2ead4", "e6d8b8"), 0.02)
    sea = tint(rng, ("bcd3d6", "cfd9cc", "e2d9bc", "a8c8d4", "d8dccb"), 0.02)
    pixels = paint(plain(size, sea), paper, land)
    pixels = regions(rng, pixels, land)
    # Lines that follow the coast at growing distance, as engravers drew the sea.
    below = level - field
    waves = smooth(0.5, 0.9, np.sin(below * np.float32(rng.uniform(240, 420)))) * smooth(0.11, 0.0, below) * (1 - land)
    pixels = paint(pixels, rgb("5d7a86"), (waves * np.float32(0.6)).astype(np.float32))
    hills = relief(blurred(field, 1.2), 0.8, 6.0) * land * np.float32(rng.uniform(0.2, 1.0))
    coast = smooth(0.006, 0.002, np.abs(field - level))
    pixels = paint(pixels * (1 + hills)[..., None], rgb("3f3024"), coast)
    sheet = Sheet(width, limited(pixels))
    if not spare:
        streams(sheet, rng, field, level)
    area = pick(rng, ("coast", "district", "province", "islands", "lower valley"))
    labels(sheet, rng, land, int(rng.integers(5, 9) if spare else rng.integers(14, 30)))
    name = place_name(rng)
    furniture(sheet, rng, f"{area.upper()} OF {name.upper()}")
    aged = sheet.pixels() * (0.93 + 0.12 * clouds(rng, size, 3, 4))[..., None]
    if rng.random() < 0.4:  # the folds of a map that was carried
        for share in (0.25, 0.5, 0.75):
            column = int(size[1] * share)
            aged[:, column - 1 : column + 1] *= np.float32(0.88)
        aged[size[0] // 2 - 1 : size[0] // 2 + 1] *= np.float32(0.88)
    return Plate(limited(aged), f"Map of the {area} of {name}")


def regions(rng: Rng, pixels: Floats, land: Floats) -> Floats:
    """Territories in pale colours with darker borders."""
    size = (land.shape[0], land.shape[1])
    y, x = mesh(size)
    bend = (clouds(rng, size, 7, 3) - np.float32(0.5)) * np.float32(0.2)
    count = int(rng.integers(3, 9))
    far = np.stack([np.hypot(y + bend - rng.random(), x + bend - rng.random() * x.max()) for _ in range(count)])
    near = np.sort(far, axis=0)
    colours = np.array([tint(rng, ("e8c8b0", "d4dcb4", "f0e0a8", "e4ccd4", "c8d8c8", "eed6a0"), 0.03) for _ in range(count)])
    washed = floats(colours)[far.argmin(axis=0)]
    mixed = pixels + (washed - pixels) * (land * np.float32(rng.uniform(0.3, 0.9)))[..., None]
    border = smooth(0.012, 0.004, near[1] - near[0]) * land
    return paint(floats(mixed), tint(rng, ("a04038", "6a7a48", "8a5a70")), border * np.float32(0.7))


def streams(sheet: Sheet, rng: Rng, field: Floats, level: float) -> None:
    """Rivers that run down the height field to the sea, and roads that do not care."""
    down, right = slopes(blurred(field, 4))
    rows, columns = field.shape
    for _ in range(int(rng.integers(4, 9))):
        y, x = rng.uniform(0, rows - 1), rng.uniform(0, columns - 1)
        course: list[Point] = []
        for _step in range(60):
            row, column = int(np.clip(y, 0, rows - 1)), int(np.clip(x, 0, columns - 1))
            if field[row, column] < level or not (0 <= y < rows and 0 <= x < columns):
                break
            course.append((x / rows, y / rows))
            slope = math.hypot(float(down[row, column]), float(right[row, column])) + 1e-6
            y -= 4 * float(down[row, column]) / slope + rng.normal(0, 2.0)
            x -= 4 * float(right[row, column]) / slope + rng.normal(0, 2.0)
        if len(course) > 8:
            sheet.line(course, rgb("4a7490"), 0.005)
    for _ in range(int(rng.integers(2, 5))):
        road = ridge(rng, max(1.0, sheet.width), rng.uniform(0.2, 0.8), rng.uniform(0.05, 0.16))
        if rng.random() < 0.5:
            road = [(y, x) for x, y in road]
        sheet.line(road, tint(rng, ("a8483a", "6b5040")), 0.004)


def labels(sheet: Sheet, rng: Rng, land: Floats, count: int) -> None:
    """Towns with names on land."""
    ink, rows = rgb("2f241c"), land.shape[0]
    for _ in range(count):
        x, y = rng.uniform(0.1, sheet.width - 0.12), rng.uniform(0.1, 0.9)
        if land[int(y * rows), min(land.shape[1] - 1, int(x * rows))] > 0.5:
            sheet.ellipse(x, y, 0.009, 0.009, tint(rng, ("a83a30", "2f241c")))
            sheet.text(x + 0.05, y - 0.018, place_name(rng), rng.uniform(0.024, 0.036), ink)


def furniture(sheet: Sheet, rng: Rng, title: str) -> None:
    """Grid, neat line with a scale in black and white, title box, compass."""
    width, ink, paper = sheet.width, rgb("33271e"), rgb("f3ead2")
    step, bow = rng.uniform(0.13, 0.24), rng.uniform(-0.06, 0.06)
    for start in np.arange(step, max(width, 1.0), step):
        across = np.linspace(0, 1, 12)
        if start < width:
            sheet.line([(float(start + bow * (t - 0.5) ** 2 * 4), float(t)) for t in across], rgb("8d8068"), 0.003)
        if start < 1:
            sheet.line([(float(t * width), float(start + bow * (t - 0.5) ** 2 * 4)) for t in across], rgb("8d8068"), 0.003)
    edge = rng.uniform(0.02, 0.035)
    for count, start in enumerate(np.arange(0, max(width, 1.0), step / 2)):
        tone = ink if count % 2 else paper
        left, right = float(start), float(start + step / 2)
        for y in (0.0, 1 - edge):
            sheet.box(left, y, right, y + edge, tone)
        for x in (0.0, width - edge):
            sheet.box(x, left, x + edge, right, tone)
    sheet.outline(edge, edge, width - edge, 1 - edge, ink, 0.006)
    wide = min(0.5, width * 0.5)
    x = edge + 0.04 if rng.random() < 0.5 else width - edge - 0.04 - wide
    y = edge + 0.04 if rng.random() < 0.5 else 0.83 - edge
    sheet.box(x, y, x + wide, y + 0.12, paper)
    sheet.outline(x, y, x + wide, y + 0.12, ink, 0.005)
    sheet.text(x + wide / 2, y + 0.045, title, 0.045, ink, fit=wide * 0.86)
    for part in range(6):
        sheet.box(x + wide * (0.2 + part * 0.1), y + 0.086, x + wide * (0.3 + part * 0.1), y + 0.1, ink if part % 2 else paper)
    compass(sheet, rng, width - x - wide / 2, 1 - y - 0.06, ink)


def compass(sheet: Sheet, rng: Rng, x: float, y: float, ink: Colour) -> None:
    """A compass rose with eight points."""
    x, y, size = float(np.clip(x, 0.14, sheet.width - 0.14)), float(np.clip(y, 0.16, 0.84)), rng.uniform(0.07, 0.11)
    red = tint(rng, ("a8382c", "2f4a70", "3f5f48"))
    for point in range(8):
        turn, reach = point * math.pi / 4, size * (1.0 if point % 2 == 0 else 0.6)
        tip = (x + reach * math.sin(turn), y - reach * math.cos(turn))
        for side, tone in ((-0.35, ink), (0.35, red)):
            waist = (x + size * 0.3 * math.sin(turn + side), y - size * 0.3 * math.cos(turn + side))
            sheet.polygon([(x, y), waist, tip], tone)
    sheet.ring(x, y, size * 0.72, ink, 0.004)


def textile(rng: Rng, width: float) -> Plate:
    """A woven cloth: stripes, checks, damask or zigzag, with visible threads and soft folds."""
    size = extent(width)
    colours = [tint(rng, CLOTH) for _ in range(4)]
    kind = pick(rng, ("striped", "checked", "damask", "zigzag", "diamond"))
    pattern = {"striped": stripes, "checked": checks, "damask": damask, "zigzag": zigzag, "diamond": diamonds}[kind]
    pixels = pattern(rng, size, colours)
    if rng.random() < 0.45:
        pixels = bordered(rng, pixels, colours)
    y, x = mesh(size)
    threads = rng.uniform(330, 520)
    over = np.sin(x * threads) * np.sin(y * threads)
    slub = rng.standard_normal((size[0], 1), dtype=np.float32) + rng.standard_normal((1, size[1]), dtype=np.float32)
    weave = 1 + np.float32(rng.uniform(0.1, 0.2)) * over + np.float32(0.045) * slub
    folds = np.sin(x * rng.uniform(3, 11) + 2 * clouds(rng, size, 1.5, 1) + y * rng.uniform(-2, 2)) * rng.uniform(0.02, 0.13)
    worn = 0.88 + 0.2 * clouds(rng, size, 5, 3)
    pixels = np.clip(pixels * (weave * (1 + folds) * worn)[..., None], 0, 1).astype(np.float32)
    if rng.random() < 0.4:
        pixels = fringed(rng, pixels)
    what = pick(rng, ("cloth", "woven panel", "fragment of a coverlet", "hanging"))
    return Plate(pixels, f"{kind.capitalize()} {what}, {pick(rng, ('wool', 'linen', 'silk', 'cotton and wool'))}")


def _chosen(index: Floats, colours: list[Colour]) -> Floats:
    return np.array(colours, dtype=np.float32)[np.asarray(index, dtype=np.intp) % len(colours)]


def _bands(rng: Rng, length: int, colours: int) -> Floats:
    """A repeating sequence of bands as colour numbers, one a pixel."""
    unit: list[int] = []
    for _ in range(int(rng.integers(3, 7))):
        unit += [int(rng.integers(colours))] * int(rng.integers(4, 22))
    return np.resize(np.array(unit, dtype=np.float32), length)


def stripes(rng: Rng, size: tuple[int, int], colours: list[Colour]) -> Floats:
    """Bands along one direction."""
    if rng.random() < 0.5:
        return np.repeat(_chosen(_bands(rng, size[1], 4), colours)[None], size[0], axis=0)
    return np.repeat(_chosen(_bands(rng, size[0], 4), colours)[:, None], size[1], axis=1)


def checks(rng: Rng, size: tuple[int, int], colours: list[Colour]) -> Floats:
    """Bands along both directions, half of each showing."""
    unit = _bands(rng, max(size), 4)
    return (_chosen(unit[: size[1]], colours)[None] + _chosen(unit[: size[0]], colours)[:, None]) / np.float32(2)


def zigzag(rng: Rng, size: tuple[int, int], colours: list[Colour]) -> Floats:
    """Bands that go up and down."""
    y, x = mesh(size)
    period, swing = rng.uniform(0.08, 0.25), rng.uniform(0.4, 1.0)
    way = y + swing * np.abs((x / period) % 1 - np.float32(0.5)) * period * 2
    return _chosen(np.floor(way * rng.uniform(12, 26)).astype(np.float32), colours)


def diamonds(rng: Rng, size: tuple[int, int], colours: list[Colour]) -> Floats:
    """Nested lozenges."""
    y, x = mesh(size)
    period = rng.uniform(0.13, 0.32)
    far = np.abs((x / period) % 1 - np.float32(0.5)) + np.abs((y / period) % 1 - np.float32(0.5))
    # Steps as threads make them: the outline of a woven lozenge is a staircase.
    return _chosen(np.floor(np.round(far * 16) / np.float32(16) * rng.uniform(4, 7)).astype(np.float32), colours)


def damask(rng: Rng, size: tuple[int, int], colours: list[Colour]) -> Floats:
    """A mirrored leaf ornament, repeated with every second row shifted."""
    tile = Sheet(1.0, colours[0], height=int(rng.integers(56, 110)))
    for _ in range(int(rng.integers(3, 6))):
        x, y, long = rng.uniform(0, 0.4), rng.uniform(0.1, 0.9), rng.uniform(0.06, 0.2)
        tone = colours[int(rng.integers(1, 3))]
        for side in (-1, 1):
            tile.ellipse(0.5 + side * x, y, long * 0.55, long, tone)
            tile.ellipse(0.5 + side * x * 0.7, y + long * 0.6, long * 0.3, long * 0.3, colours[3])
            tile.arc(0.5 + side * x, y, long * 1.4, long * 1.5, 20, 200, tone, 0.03)
    unit = tile.pixels()
    pair = np.concatenate([np.tile(unit, (1, 2, 1)), np.roll(np.tile(unit, (1, 2, 1)), unit.shape[1] // 2, axis=1)])
    repeats = (size[0] // pair.shape[0] + 1, size[1] // pair.shape[1] + 1, 1)
    return np.tile(pair, repeats)[: size[0], : size[1]]


def bordered(rng: Rng, pixels: Floats, colours: list[Colour]) -> Floats:
    """A border of bands around the field, as on carpets."""
    rows, columns = pixels.shape[:2]
    y, x = np.mgrid[0:rows, 0:columns]
    depth = np.minimum(np.minimum(y, rows - 1 - y), np.minimum(x, columns - 1 - x)) / rows
    edge = rng.uniform(0.08, 0.16)
    bands = _chosen(np.floor(depth / edge * 5).astype(np.float32), [colours[2], colours[1], colours[3], colours[1], colours[0]])
    teeth = ((y + x) // 9 + (y - x) // 9) % 2 == 0
    bands = np.where(((depth > edge * 0.4) & (depth < edge * 0.6) & teeth)[..., None], floats(colours[0]), bands)
    return floats(np.where((depth < edge)[..., None], bands, pixels))


def fringed(rng: Rng, pixels: Floats) -> Floats:
    """Loose threads at both ends, on the table the cloth lies on."""
    rows, columns = pixels.shape[:2]
    long = round(rows * rng.uniform(0.03, 0.06))
    table = plain((rows + 2 * long, columns), tint(rng, ("e8e6e0", "3a3836", "b8b4aa")))
    table[long:-long] = pixels
    for column in range(0, columns - 2, 4):
        tone = pixels[0, column] * np.float32(0.95)
        table[int(rng.integers(0, long // 2 + 1)) : long, column : column + 2] = tone
        table[rows + long : rows + 2 * long - int(rng.integers(0, long // 2 + 1)), column : column + 2] = tone
    return table


def inscription(rng: Rng, width: float) -> Plate:
    """Capitals cut into stone and lit from the side."""
    size = extent(width)
    stone = pick(rng, tuple(STONES))
    colour = tint(rng, STONES[stone], 0.04)
    field = clouds(rng, size, 4, 6)
    pixels = plain(size, colour) * (0.82 + 0.34 * field + grain(rng, size, 0.06 if stone == "granite" else 0.02))[..., None]
    if stone == "marble":
        veins = smooth(0.03, 0.0, np.abs(clouds(rng, size, 2.5, 4) - np.float32(0.5)))
        pixels = paint(floats(pixels), rgb("7f8288"), veins * np.float32(0.35))
    sheet = Sheet(width)
    lines = carve(sheet, rng)
    cut = sheet.mask()
    pits = smooth(0.8, 0.9, clouds(rng, size, 45, 1)) * np.float32(rng.uniform(0, 0.5))
    surface = 1 - np.clip(blurred(cut, 1.1) + pits, 0, 1) + field * np.float32(0.5)
    light = relief(floats(surface), rng.uniform(0.5, 1.1) + (math.pi / 2 if rng.random() < 0.5 else 0), 1.5)
    pixels = pixels * (1 + light)[..., None]
    fill = rgb("8a2f24") if rng.random() < 0.15 else shade(colour, 0.5)
    if stone == "slate":
        fill = rgb("c8b888")  # letters in dark stone were gilded or painted light
    pixels = paint(limited(pixels), fill, blurred(cut, 0.6) * np.float32(rng.uniform(0.3, 0.6)))
    return Plate(broken_edge(rng, pixels), f"Inscription in {lines} lines, {stone}")


def carve(sheet: Sheet, rng: Rng) -> int:
    """Lines of capitals within a sunken border, white where stone is taken away."""
    width, white = sheet.width, (1.0, 1.0, 1.0)
    count = int(rng.integers(3, 8))
    margin = rng.uniform(0.06, 0.12)
    if rng.random() < 0.55:
        sheet.outline(margin * 0.5, margin * 0.5, width - margin * 0.5, 1 - margin * 0.5, white, 0.012)
    step = (1 - 2 * margin) / count
    for line in range(count):
        words = pick(rng, LATIN)
        while len(words) < width * count * 2.1:
            words += ("·" if rng.random() < 0.5 else " ") + pick(rng, LATIN)
        fit = (width - 2.4 * margin) * (1.0 if rng.random() < 0.75 else rng.uniform(0.5, 0.9))
        sheet.text(width / 2, margin + step * (line + 0.5), words, step * 0.72, white, fit=fit, bold=0.012)
    return count


def broken_edge(rng: Rng, pixels: Floats) -> Floats:
    """Most stones have lost something of their edge; the ground behind shows there."""
    rows, columns = pixels.shape[:2]
    if rng.random() < 0.3:
        return pixels
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32) / np.float32(rows)
    depth = np.minimum(np.minimum(y, 1 - y), np.minimum(x, x.max() - x))
    corner = np.hypot(y - rng.integers(2), x - rng.integers(2) * columns / rows) * np.float32(0.4)
    bite = np.minimum(depth, corner) + (clouds(rng, (rows, columns), 6, 4) - np.float32(0.5)) * np.float32(0.09)
    gone = smooth(0.03, 0.015, floats(bite))
    rim = smooth(0.06, 0.02, floats(bite)) * np.float32(0.35)
    return paint(pixels * (1 - rim)[..., None], tint(rng, ("1c1c1e", "d8d6d0", "4a4844", "6b6a5e")), gone)


def manuscript(rng: Rng, width: float, miniature: Plate | None = None) -> Plate:
    """A page of handwriting on paper or parchment; a `miniature` is painted above the text."""
    size = extent(width)
    vellum = miniature is not None or rng.random() < 0.5
    page = tint(rng, ("ead9b0", "e0caa0", "d8c49a") if vellum else ("f0ead8", "e6e0d0", "dfe0da", "ece0c4"), 0.025)
    pixels = plain(size, page) * (0.86 + 0.2 * clouds(rng, size, 3, 5) + grain(rng, size, 0.01))[..., None]
    if rng.random() < 0.45:  # a stain that came with damp
        y, x = mesh(size)
        spot = np.hypot(y - rng.random(), x - rng.random() * width) + 0.12 * clouds(rng, size, 5, 2)
        pixels = paint(floats(pixels), rgb("8a6238"), smooth(0.38, 0.2, floats(spot)) * np.float32(0.28))
    sheet = Sheet(width, limited(pixels))
    ink = tint(rng, ("2a1c14", "4a2f1c", "22242c", "5a3a20", "1f2a44"), 0.03)
    columns = 2 if vellum and width > 0.75 and rng.random() < 0.5 else 1
    margin, gutter = rng.uniform(0.07, 0.13), 0.06
    wide = (width - 2 * margin - gutter * (columns - 1)) / columns
    step = rng.uniform(0.038, 0.062)
    top = rng.uniform(0.07, 0.16)
    if miniature:
        top = 0.06 + inset(sheet, rng, miniature.pixels, (margin, 0.06, width - 2 * margin)) + step
    for column in range(columns):
        write(sheet, rng, (margin + column * (wide + gutter), top, wide, step), ink, vellum)
    if miniature:
        return Plate(sheet.pixels(), f"Leaf of a codex with a miniature: {miniature.title[0].lower()}{miniature.title[1:]}")
    if vellum:
        return Plate(sheet.pixels(), f"{pick(rng, ('Leaf of a codex', 'Leaf from a book of hours'))}, ink on parchment")
    what = pick(rng, ("Letter", "Page of a diary", "Page of an account book", "Draft of a letter"))
    return Plate(sheet.pixels(), f"{what}, ink on paper")


def inset(sheet: Sheet, rng: Rng, pixels: Floats, place: tuple[float, float, float]) -> float:
    """A picture with a coloured and gilded border on the sheet; returns its height."""
    left, top, wide = place
    tall = min(wide * pixels.shape[0] / pixels.shape[1], rng.uniform(0.46, 0.56))
    picture = to_image(pixels).resize((round(wide * sheet.scale), round(tall * sheet.scale)), Image.Resampling.BICUBIC)
    sheet.image.paste(picture, (round(left * sheet.scale), round(top * sheet.scale)))
    sheet.outline(left - 0.012, top - 0.012, left + wide + 0.012, top + tall + 0.012, tint(rng, ("9a2a26", "2a4a86")), 0.014)
    sheet.outline(left - 0.004, top - 0.004, left + wide + 0.004, top + tall + 0.004, rgb("c8a040"), 0.008)
    return float(tall + 0.02)


def write(sheet: Sheet, rng: Rng, block: tuple[float, float, float, float], ink: Colour, vellum: bool) -> None:
    """One column of handwritten lines, with a coloured initial on parchment."""
    left, top, wide, step = block
    initial = step * rng.uniform(2.6, 4.0) if vellum and rng.random() < 0.75 else 0.0
    if initial:
        tone = tint(rng, ("9a2a26", "2a4a86", "3a6a4a", "b08a2a"))
        sheet.box(left, top - step * 0.5, left + initial, top - step * 0.5 + initial, tone)
        letter = pick(rng, "ABDEHLMNOPQRS")
        sheet.text(left + initial / 2, top - step * 0.5 + initial / 2, letter, initial * 0.75, rgb("ecd9a4"), bold=0.05)
    slant, thick = (0.0 if vellum else rng.uniform(0.1, 0.5)), step * rng.uniform(0.07, 0.11)
    y, last = top, rng.uniform(0.75, 0.93)
    while y < last:
        if rng.random() < 0.3 and vellum:
            sheet.line([(left, y + step * 0.25), (left + wide, y + step * 0.25)], rgb("b09a78"), 0.002)
        start = left + (initial + 0.02 if y < top + initial - step * 0.4 else 0)
        end = left + wide * (rng.uniform(0.3, 0.8) if rng.random() < 0.1 else rng.uniform(0.94, 1.0))
        tone = rgb("9a2a26") if vellum and rng.random() < 0.06 else blend(ink, (0.6, 0.5, 0.4), rng.uniform(0, 0.25))
        scribble(sheet, rng, (start, y, end, step), tone, thick, slant)
        y += step


def scribble(sheet: Sheet, rng: Rng, line: tuple[float, float, float, float], ink: Colour, thick: float, slant: float) -> None:
    """Words of joined loops with ascenders and descenders."""
    x, base, end, step = line
    body = step * 0.22
    while x < end - step:
        letters = int(rng.integers(2, 9))
        t = np.linspace(0, letters, letters * 9)
        reach = np.repeat(rng.choice([1.0, 1.0, 1.0, 2.1, -1.7], letters), 9)
        wave = np.sin(t * 2 * np.pi + 0.6 * np.sin(t * 3))
        up = np.where(reach > 0, np.maximum(wave, -1) * np.where(wave > 0, reach, 1), wave * np.where(wave < 0, -reach, 1))
        along = x + t * step * 0.3 + np.cos(t * 2 * np.pi) * step * 0.1 + up * body * slant
        high = base - up * body
        keep = along < end
        points = [(float(a), float(b)) for a, b in zip(along[keep], high[keep], strict=True)]
        if len(points) > 2:
            sheet.line(points, ink, thick)
        x += letters * step * 0.3 + step * rng.uniform(0.3, 0.5)

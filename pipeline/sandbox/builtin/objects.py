"""Things with a body: coins and ceramic vessels, photographed on a ground."""

import math

import numpy as np

from pipeline.sandbox.builtin.canvas import (
    HEIGHT,
    Colour,
    Floats,
    Plate,
    Rng,
    Sheet,
    blurred,
    clouds,
    extent,
    floats,
    grain,
    mesh,
    paint,
    pick,
    plain,
    relief,
    shade,
    smooth,
    tint,
)
from pipeline.sandbox.builtin.scenes import figure

METALS = {"silver": "9c9b97", "gold": "b58d38", "bronze": "76583a", "copper": "84543a", "green bronze": "566654"}
WHITE: Colour = (1.0, 1.0, 1.0)
# A head seen from the side, looking to the right; the unit is half its height.
HEAD = ((0.1, -0.85), (0.42, -0.62), (0.46, -0.3), (0.68, 0.05), (0.5, 0.12), (0.54, 0.3), (0.42, 0.42), (0.4, 0.6),
        (0.1, 0.56), (0.12, 0.95), (-0.5, 0.95), (-0.42, 0.4), (-0.66, -0.1), (-0.5, -0.65))  # fmt: skip
DEVICES = ("star", "cross", "tree", "ship", "wreath", "letter", "tower", "sun")


def coin(rng: Rng, width: float, head: bool = False) -> Plate:
    """One coin, both sides of one, or a tray; with `head` a profile is struck on it."""
    size = extent(width)
    metal, device = pick(rng, tuple(METALS)), "head in profile" if head else pick(rng, DEVICES)
    back = tint(rng, ("17181a", "e8e7e2", "7d7f80", "3a2326", "24344a", "c9c2b2", "f4f4f2", "4a3a2c"), 0.03)
    pixels = plain(size, back) * (0.9 + 0.14 * clouds(rng, size, 3, 4) + grain(rng, size, 0.015))[..., None]
    layout = pick(rng, ("one", "one", "one", "pair", "tray"))
    if head or (layout == "pair" and width < 1.15):
        layout = "one"
    radius, places = arrangement(rng, width, layout)
    angle = rng.uniform(0.3, 1.3)
    base = tint(rng, (METALS[metal],), 0.03)
    for number, (x, y) in enumerate(places):
        shown = device if number == 0 or layout == "tray" and rng.random() < 0.4 else pick(rng, DEVICES)
        pixels = lay(rng, floats(pixels), (x, y, radius * rng.uniform(0.93, 1.0)), base, shown, angle)
    words = {"one": f"Coin, {device}", "pair": f"Coin, both sides, {device}", "tray": "Group of coins"}[layout]
    return Plate(floats(pixels), f"{words}, {metal}", loose=False)


def arrangement(rng: Rng, width: float, layout: str) -> tuple[float, list[tuple[float, float]]]:
    """Radius and centres of the coins."""
    if layout == "one":
        radius = min(rng.uniform(0.3, 0.46), width * 0.46)
        return radius, [(width / 2 + rng.uniform(-0.05, 0.05), 0.5 + rng.uniform(-0.03, 0.03))]
    if layout == "pair":
        radius = min(0.4, width * 0.23)
        return radius, [(width * 0.26, 0.5), (width * 0.74, 0.5)]
    rows = int(rng.integers(2, 4))
    columns = max(2, round(rows * width))
    cell = min(width / columns, 1 / rows)
    spots = [(width * (column + 0.5) / columns, (row + 0.5) / rows) for row in range(rows) for column in range(columns)]
    return cell * 0.42, spots


def lay(rng: Rng, pixels: Floats, place: tuple[float, float, float], metal: Colour, device: str, angle: float) -> Floats:
    """One coin on the ground: its shadow, then its struck surface under a light from the side."""
    size = (pixels.shape[0], pixels.shape[1])
    x, y, radius = place
    rows, columns = mesh(size)
    turn = np.arctan2(rows - y, columns - x)
    wobble = sum(rng.uniform(-0.016, 0.016) * np.cos(turn * wave + rng.uniform(0, 6.28)) for wave in range(2, 6))
    far = (np.hypot(rows - y, columns - x) / radius + wobble).astype(np.float32)
    disc = smooth(1.0, 0.975, far)
    shift = round(radius * HEIGHT * 0.05) + 1
    shadow = np.roll(blurred(disc, 5), (shift, shift), axis=(0, 1))
    pixels = pixels * (1 - 0.6 * shadow * (1 - disc))[..., None]
    sheet = Sheet(size[1] / size[0])
    strike(sheet, rng, x, y, radius, device)
    height = blurred(sheet.mask(), max(0.9, radius * 3.0)) + smooth(0.86, 0.99, far) * np.float32(0.5)
    height += clouds(rng, size, 22, 3) * np.float32(rng.uniform(0.05, 0.45))
    light = relief(floats(height), angle, 1.9) + (0.12 - 0.22 * ((columns - x) + (rows - y)) / radius / 2)
    patina = 0.84 + 0.3 * clouds(rng, size, 7, 3)
    surface = floats(metal) * ((1 + light) * patina)[..., None] + np.float32(0.7) * np.maximum(light - 0.15, 0)[..., None]
    return floats(pixels * (1 - disc[..., None]) + np.clip(surface, 0, 1) * disc[..., None])


def strike(sheet: Sheet, rng: Rng, x: float, y: float, radius: float, device: str) -> None:
    """The raised parts of a coin in white: beads, legend around, device in the middle."""
    beads = int(rng.integers(36, 60))
    for bead in range(beads):
        turn = bead * 2 * math.pi / beads
        dot = radius * 0.022
        sheet.ellipse(x + radius * 0.9 * math.cos(turn), y + radius * 0.9 * math.sin(turn), dot, dot, WHITE)
    if radius > 0.2:
        letters = int(rng.integers(9, 20))
        for place in range(letters):
            turn = -math.pi * 1.35 + place * math.pi * 1.7 / letters
            spot = (x + radius * 0.74 * math.cos(turn), y + radius * 0.74 * math.sin(turn))
            letter = pick(rng, "ABCDEGIKLMNOPRSTVX")
            sheet.text(*spot, letter, radius * 0.19, WHITE, turn=-math.degrees(turn) - 90, bold=0.03)
    emblem(sheet, rng, x, y, radius * 0.5, device)


def emblem(sheet: Sheet, rng: Rng, x: float, y: float, size: float, device: str) -> None:
    """What stands in the middle of a coin."""
    if device in ("star", "sun"):
        points, inner = (int(rng.integers(5, 9)), 0.42) if device == "star" else (16, 0.62)
        turns = np.arange(points * 2) * math.pi / points - math.pi / 2
        reach = [size * (1.0 if number % 2 == 0 else inner) for number in range(points * 2)]
        sheet.polygon([(x + r * math.cos(t), y + r * math.sin(t)) for r, t in zip(reach, turns, strict=True)], WHITE)
    elif device == "cross":
        sheet.line([(x - size, y), (x + size, y)], WHITE, size * 0.3)
        sheet.line([(x, y - size), (x, y + size)], WHITE, size * 0.3)
        for dx, dy in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
            sheet.ellipse(x + dx * size * 0.5, y + dy * size * 0.5, size * 0.13, size * 0.13, WHITE)
    elif device == "wreath":
        for leaf in range(22):
            turn = -math.pi / 2 + 0.3 + leaf * (2 * math.pi - 0.6) / 21
            sheet.ellipse(x + size * math.cos(turn), y + size * math.sin(turn), size * 0.14, size * 0.1, WHITE)
        sheet.text(x, y, pick(rng, ("SC", "II", "X", "IV", "V")), size * 0.8, WHITE, bold=0.06)
    elif device == "letter":
        sheet.text(x, y, pick(rng, "AEKMNRX"), size * 1.5, WHITE, bold=0.06)
    elif device == "tree":
        sheet.line([(x, y + size), (x, y - size * 0.2)], WHITE, size * 0.18)
        for _ in range(14):
            blob = (x + rng.normal(0, 0.3) * size, y - size * 0.35 + rng.normal(0, 0.25) * size)
            sheet.ellipse(*blob, size * 0.17, size * 0.17, WHITE)
    elif device == "ship":
        sheet.draw.chord(sheet.points([(x - size, y - size * 0.5), (x + size, y + size * 0.8)]), 10, 170, fill=(255,) * 3)
        sheet.line([(x, y + size * 0.4), (x, y - size)], WHITE, size * 0.1)
        sheet.polygon(
            [(x + size * 0.08, y - size * 0.9), (x + size * 0.8, y + size * 0.1), (x + size * 0.08, y + size * 0.1)],
            WHITE,
        )
    elif device == "tower":
        sheet.box(x - size * 0.5, y - size * 0.5, x + size * 0.5, y + size, WHITE)
        for tooth in (-0.55, -0.12, 0.31):
            sheet.box(x + tooth * size, y - size * 0.85, x + (tooth + 0.25) * size, y - size * 0.5, WHITE)
        sheet.box(x - size * 0.18, y + size * 0.3, x + size * 0.18, y + size, (0.0, 0.0, 0.0))
    else:
        profile(sheet, x, y, size * 1.15)


def profile(sheet: Sheet, x: float, y: float, size: float) -> None:
    """A head seen from the side."""
    sheet.polygon([(x + dx * size, y + dy * size) for dx, dy in HEAD], (0.8, 0.8, 0.8))
    for lock in range(9):
        turn = math.pi * (0.62 + lock * 0.105)
        across, down = 0.55 * math.cos(turn) - 0.05, -0.2 - 0.5 * math.sin(turn - math.pi / 2)
        sheet.ellipse(x + size * across, y + size * down, size * 0.16, size * 0.13, WHITE)
    sheet.ellipse(x + size * 0.25, y - size * 0.2, size * 0.09, size * 0.06, (0.1, 0.1, 0.1))


PROFILES = {
    "amphora": (0.16, 0.15, 0.1, 0.1, 0.24, 0.33, 0.35, 0.29, 0.19, 0.1, 0.13),
    "vase": (0.17, 0.11, 0.1, 0.17, 0.27, 0.3, 0.28, 0.23, 0.17, 0.14, 0.15),
    "jug": (0.12, 0.1, 0.11, 0.18, 0.26, 0.3, 0.31, 0.29, 0.24, 0.19, 0.2),
    "bowl": (0.46, 0.46, 0.45, 0.43, 0.4, 0.35, 0.28, 0.2, 0.15, 0.15, 0.18),
    "jar": (0.18, 0.19, 0.27, 0.33, 0.36, 0.37, 0.36, 0.33, 0.29, 0.24, 0.22),
    "bottle": (0.07, 0.06, 0.06, 0.07, 0.13, 0.23, 0.28, 0.29, 0.27, 0.22, 0.2),
}
WARES = {
    "blue and white": ("eceeec", ("24478a", "3a5fa8")),
    "red-figure": ("2a211e", ("b8623a", "c87a4a")),
    "black-figure": ("c07240", ("241c1a", "2e2420")),
    "green glaze": ("7d9a78", ("4a6a4c", "dfe4c8")),
    "slipware": ("a8602f", ("f0dca8", "5a2f1c")),
    "majolica": ("efe8d6", ("c88a2a", "2f6a8a", "4a7a3a")),
    "earthenware": ("b5835a", ("7a4a30", "dcc09a")),
}


def ceramics(rng: Rng, width: float, painted_people: bool = False) -> Plate:
    """A vessel of revolution with a painted or glazed wall; `painted_people` puts figures around it."""
    shape = pick(rng, ("amphora", "vase", "jar") if painted_people else tuple(PROFILES))
    ware = pick(rng, ("red-figure", "black-figure", "blue and white", "majolica") if painted_people else tuple(WARES))
    size = extent(width)
    body, inks = tint(rng, (WARES[ware][0],), 0.04), [tint(rng, (code,), 0.04) for code in WARES[ware][1]]
    pixels = studio(rng, size)
    y, x = mesh(size)
    tall = rng.uniform(0.4, 0.52) if shape == "bowl" else rng.uniform(0.72, 0.86)
    foot, middle = rng.uniform(0.88, 0.93), width / 2 + rng.uniform(-0.04, 0.04)
    spread = min(tall * (1.8 if shape == "bowl" else 1.0) * rng.uniform(0.88, 1.12), width * 0.92 / (2 * max(PROFILES[shape])))
    top = foot - tall
    if shape in ("amphora", "jug") or rng.random() < 0.2:
        pixels = handles(rng, pixels, (middle, top, tall, spread), body, both=shape != "jug")
    # The wall in cylinder coordinates: `down` from rim to foot, `round_` from the left edge (-1) to the right (1).
    down = (y - top) / np.float32(tall)
    radius = outline(PROFILES[shape], down[:, 0])[:, None] * np.float32(spread)
    round_ = (x - middle) / radius
    inside = smooth(1.0, 0.975, np.abs(round_)) * ((down >= 0) & (down <= 1))
    wall = decorated(rng, body, inks, painted_people)
    theta = np.arcsin(np.clip(round_, -1, 1)) / np.pi + 0.5
    rows = np.clip(down * wall.shape[0], 0, wall.shape[0] - 1).astype(np.intp)
    columns = np.clip((theta * 0.5 + 0.25) * wall.shape[1], 0, wall.shape[1] - 1).astype(np.intp)
    light = rng.choice([-0.45, 0.45])
    lit = 0.35 + 0.75 * np.sqrt(np.clip(1 - (np.clip(round_, -1, 1) + light) ** 2 * 0.45, 0, 1)) - 0.25 * np.abs(round_) ** 3
    gloss = np.exp(-(((round_ + light) / 0.1) ** 2)) * rng.uniform(0.05, 0.4) * np.exp(-(((down - 0.35) / 0.25) ** 2))
    surface = wall[rows, columns] * (lit * (0.92 + 0.16 * clouds(rng, size, 12, 3)))[..., None] + gloss[..., None]
    pixels = pixels * (1 - inside[..., None]) + np.clip(surface, 0, 1) * inside[..., None]
    pixels = mouth(floats(pixels), (middle, top, float(radius[min(int(top * HEIGHT) + 1, HEIGHT - 1), 0])), body)
    what = f"{shape.capitalize()} with painted figures" if painted_people else shape.capitalize()
    return Plate(pixels, f"{what}, {ware}", loose=False)


def outline(profile: tuple[float, ...], down: Floats) -> Floats:
    """The radius at every height: the eleven given ones joined by a smooth curve."""
    knots = np.linspace(0, 1, len(profile))
    spots = np.clip(down, 0, 1)
    near = [np.interp(spots + shift, knots, profile) for shift in (-0.05, -0.025, 0.0, 0.025, 0.05)]
    return floats(np.mean(near, axis=0))


def studio(rng: Rng, size: tuple[int, int]) -> Floats:
    """A backdrop that runs from light to dark, with the shadow of the vessel on the table."""
    top, low = tint(rng, ("d8d8d6", "5a5c60", "c4bcae", "2c2c30", "9aa4ac", "e9e6e0")), rng.uniform(0.6, 1.1)
    y, x = mesh(size)
    fall = 1 + (low - 1) * y
    pixels = plain(size, top) * fall[..., None]
    middle = size[1] / size[0] / 2
    shadow = smooth(1.0, 0.0, np.hypot((x - middle) / np.float32(0.42), (y - np.float32(0.92)) / np.float32(0.07)))
    return floats(pixels * (1 - 0.5 * shadow)[..., None])


def handles(rng: Rng, pixels: Floats, place: tuple[float, float, float, float], body: Colour, both: bool) -> Floats:
    """Handles behind the wall."""
    middle, top, tall, spread = place
    sheet = Sheet(pixels.shape[1] / pixels.shape[0])
    for side in (-1, 1) if both else (1,):
        x = middle + side * spread * 0.2
        sheet.arc(x, top + tall * 0.24, spread * 0.17, tall * rng.uniform(0.16, 0.2), 0, 360, WHITE, tall * 0.045)
    mask = sheet.mask()
    light = relief(blurred(mask, 2.5), 0.8, 3.0)
    return paint(pixels, shade(body, 0.8), mask) * (1 + light * mask)[..., None]


def mouth(pixels: Floats, place: tuple[float, float, float], body: Colour) -> Floats:
    """The opening seen a little from above: a light lip around a dark inside."""
    x, y, radius = place
    sheet = Sheet(pixels.shape[1] / pixels.shape[0], pixels)
    sheet.ellipse(x, y, radius * 1.03, radius * 0.16 + 0.008, shade(body, 1.1))
    sheet.ellipse(x, y, radius * 0.93, radius * 0.13, shade(body, 0.4))
    return sheet.pixels()


def decorated(rng: Rng, body: Colour, inks: list[Colour], figures: bool) -> Floats:
    """The wall unrolled: bands, and between them waves, flowers, a key pattern or people."""
    strip = Sheet(3.0, body, height=220)
    for y in (0.12, 0.24, 0.66, 0.74, 0.95):
        if rng.random() < 0.75:
            strip.box(0, y, 3, y + rng.uniform(0.01, 0.04), inks[int(rng.integers(len(inks)))])
    if figures:
        for x in np.arange(0.1, 3.0, rng.uniform(0.24, 0.32)):
            figure(strip, rng, float(x), 0.66, rng.uniform(0.36, 0.42), one=inks[0])
        return strip.pixels()
    ornament = pick(rng, ("waves", "flowers", "key", "leaves", "plain", "scales"))
    step = rng.uniform(0.14, 0.26)
    for number, x in enumerate(np.arange(0.0, 3.0, step)):
        motif(strip, ornament, (float(x), rng.uniform(0.44, 0.48), step), inks[number % len(inks)], inks[-1])
    return strip.pixels()


def motif(strip: Sheet, ornament: str, place: tuple[float, float, float], ink: Colour, other: Colour) -> None:
    """One repeat of the ornament."""
    x, y, step = place
    if ornament == "waves":
        strip.arc(x, y, step * 0.5, 0.1, 180, 360, ink, 0.025)
        strip.arc(x + step * 0.5, y, step * 0.5, 0.1, 0, 180, ink, 0.025)
    elif ornament == "flowers":
        for petal in range(6):
            turn = petal * math.pi / 3
            strip.ellipse(x + step * 0.25 * math.cos(turn), y + step * 0.25 * math.sin(turn), step * 0.14, step * 0.14, ink)
        strip.ellipse(x, y, step * 0.12, step * 0.12, other)
    elif ornament == "key":
        corners = [(0, 0.1), (0, -0.1), (0.75, -0.1), (0.75, 0.04), (0.35, 0.04), (0.35, -0.03)]
        strip.line([(x + dx * step, y + dy) for dx, dy in corners], ink, 0.022)
    elif ornament == "leaves":
        strip.ellipse(x, y, step * 0.18, 0.14, ink)
        strip.line([(x, y - 0.14), (x, y + 0.2)], other, 0.014)
    elif ornament == "scales":
        for row in range(4):
            strip.arc(x + row % 2 * step / 2, y - 0.14 + row * 0.08, step * 0.5, 0.09, 0, 180, ink, 0.016)

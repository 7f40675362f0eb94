"""What pictures show: landscapes, buildings, portraits and groups of people, in plain colours.

A scene knows nothing of its medium; `media.py` makes a painting, a drawing, a photograph or a poster of it.
"""

import math
from collections.abc import Callable

import numpy as np

from pipeline.sandbox.builtin.canvas import (
    HEIGHT,
    Colour,
    Floats,
    Plate,
    Point,
    Rng,
    Sheet,
    blend,
    blurred,
    bytes_of,
    clouds,
    extent,
    paint,
    pick,
    plain,
    rgb,
    shade,
    smooth,
    tint,
)

SKIES = {
    "morning": ("8fb4d6", "f6e3c4"),
    "midday": ("5f97cc", "d8e8f2"),
    "dusk": ("4a5a8c", "f2b27a"),
    "storm": ("55616e", "b9bfc2"),
    "winter": ("a9b9c9", "eceff0"),
}
GREENS = ("4f6b35", "6b7f3a", "3f5a3c", "7c7a3e")
STONES = ("c9b48f", "b98f6a", "d8d0c0", "a8877a", "c7a27c", "94a0a6")
ROOFS = ("8a4a38", "5d6470", "6e3f35", "4c5a58")
SKINS = ("f0cfb0", "e0b48c", "c68e63", "9a6744", "6f4630")
HAIRS = ("2b211c", "4a3222", "7a5530", "b08a50", "8b8680", "d9d4cc")
CLOTHES = ("2f3a4f", "5a2f33", "3d4a3a", "6a5a44", "2a2a2e", "7a3b2a", "b09a6a", "4d4560", "8c8f98")


def sky(rng: Rng, width: float, mood: str) -> Floats:
    """A sky with clouds over the whole plate."""
    size = extent(width)
    top, low = (np.array(rgb(code), dtype=np.float32) for code in SKIES[mood])
    share = np.clip(np.linspace(0, 1.7, size[0], dtype=np.float32), 0, 1)[:, None, None]
    base = (top * (1 - share) + low * share) * np.ones((1, size[1], 1), dtype=np.float32)
    drift = clouds(rng, size, rng.uniform(2.0, 4.5), 4)
    return paint(base, (0.98, 0.97, 0.95), smooth(0.5, 0.85, drift) * np.float32(rng.uniform(0.3, 0.9)))


def ridge(rng: Rng, width: float, base: float, swing: float, steps: int = 90) -> list[Point]:
    """The outline of a chain of hills from left to right."""
    x = np.linspace(-0.02, width + 0.02, steps)
    y = np.full(steps, base)
    for wave in range(1, 6):
        y -= swing / wave * np.sin(x * wave * rng.uniform(1.6, 3.2) + rng.uniform(0, 6.28))
    return [(float(a), float(b)) for a, b in zip(x, y, strict=True)]


def tree(sheet: Sheet, rng: Rng, x: float, foot: float, tall: float, leaf: Colour) -> None:
    """A leafy tree or a conifer, dark below and light on top."""
    trunk = shade(rgb("5a4636"), rng.uniform(0.7, 1.1))
    sheet.line([(x, foot), (x + tall * 0.03, foot - tall * 0.5)], trunk, tall * 0.07)
    if rng.random() < 0.3:
        for step in range(4):
            top, half = foot - tall * (0.35 + step * 0.2), tall * (0.26 - step * 0.05)
            corners = [(x - half, top + tall * 0.2), (x + half, top + tall * 0.2), (x, top - tall * 0.12)]
            sheet.polygon(corners, shade(leaf, 0.6 + step * 0.1))
        return
    for _ in range(22):
        light = rng.uniform(-1, 1)
        dx, dy = rng.normal(0, tall * 0.15), light * tall * 0.22
        blob = tall * rng.uniform(0.07, 0.15)
        sheet.ellipse(x + dx, foot - tall * 0.68 + dy, blob, blob * 0.85, shade(leaf, 0.85 - light * 0.32))


def river(sheet: Sheet, rng: Rng, horizon: float, water: Colour) -> None:
    """Water that winds from the horizon to the front and grows wider."""
    start, sway, phase = rng.uniform(0.3, 0.7) * sheet.width, rng.uniform(0.1, 0.25), rng.uniform(0, 6.28)
    left, right = [], []
    for step in np.linspace(0, 1, 40):
        y, half = horizon + (1.03 - horizon) * step, 0.008 + 0.2 * step**1.6
        x = start + sway * math.sin(phase + 4.5 * math.sqrt(step)) * (0.4 + step)
        left.append((float(x - half), float(y)))
        right.append((float(x + half), float(y)))
    sheet.polygon(left + right[::-1], water)
    for _ in range(14):
        x, y = left[int(rng.integers(12, 40))]
        sheet.line([(x + 0.03, y), (x + rng.uniform(0.06, 0.16), y)], shade(water, 1.18), 0.004)


def fields(sheet: Sheet, rng: Rng, horizon: float, green: Colour) -> None:
    """Furrows that run towards the horizon."""
    vanish = rng.uniform(0.2, 0.8) * sheet.width
    for x in np.linspace(-1.0, sheet.width + 1.0, int(rng.integers(14, 26))):
        sheet.line([(vanish + (x - vanish) * 0.12, horizon + 0.14), (float(x), 1.02)], shade(green, 0.78), 0.006)


def landscape(rng: Rng, width: float) -> Plate:
    """Hills under a sky, with water, fields and trees."""
    mood = pick(rng, tuple(SKIES))
    horizon = rng.uniform(0.38, 0.6)
    sheet = Sheet(width, sky(rng, width, mood))
    if mood == "dusk" or rng.random() < 0.3:
        radius = rng.uniform(0.03, 0.06)
        sheet.ellipse(rng.uniform(0.15, 0.85) * width, horizon - rng.uniform(0.05, 0.25), radius, radius, rgb("fdeec0"))
    green = rgb("dfe3e2") if mood == "winter" else tint(rng, GREENS)
    far = blend(rgb(SKIES[mood][0]), green, 0.3)
    chains = int(rng.integers(2, 5))
    swing = rng.uniform(0.03, 0.11)
    for chain in range(chains):
        line = ridge(rng, width, horizon - 0.05 + 0.07 * chain, swing * (1 - chain * 0.2))
        depth = (chain + 1) / (chains + 1)
        sheet.polygon([*line, (width + 0.1, 1.1), (-0.1, 1.1)], blend(far, green, depth))
    front = horizon + 0.07 * chains - 0.02
    feature = pick(rng, ("river", "river", "fields", "meadow", "lake"))
    if feature == "fields":
        fields(sheet, rng, horizon, green)
    elif feature == "river":
        river(sheet, rng, front, blend(rgb(SKIES[mood][0]), (0.9, 0.95, 1.0), 0.35))
    elif feature == "lake":
        deep = blend(rgb(SKIES[mood][0]), (0.8, 0.9, 1.0), 0.3)
        sheet.ellipse(rng.uniform(0.2, 0.8) * width, front + 0.2, width * 0.45, rng.uniform(0.06, 0.12), deep)
    leaf = rgb("6e6f66") if mood == "winter" else tint(rng, ("3f5a2c", "587033", "7d6a2a", "32503a"))
    spots = sorted((rng.uniform(front - 0.02, 0.98), rng.uniform(-0.02, 1.02) * width) for _ in range(rng.integers(5, 14)))
    for foot, x in spots:
        tree(sheet, rng, x, foot, 0.08 + (foot - horizon) * rng.uniform(0.45, 0.85), leaf)
    words = {"river": "a river", "fields": "ploughed fields", "meadow": "meadows", "lake": "a lake"}[feature]
    season = {"winter": "in winter", "dusk": "at dusk", "storm": "before a storm"}.get(mood, f"in the {mood} light")
    return Plate(sheet.pixels(), f"Landscape with {words} {season}")


def window(sheet: Sheet, x: float, y: float, half: float, tall: float, wall: Colour, arched: bool) -> None:
    """A dark window with a light frame."""
    light, dark = shade(wall, 1.2), rgb("2f3640")
    if arched:
        sheet.ellipse(x, y, half * 1.3, half * 1.3, light)
        sheet.ellipse(x, y, half, half, dark)
    sheet.box(x - half * 1.3, y, x + half * 1.3, y + tall * 1.05, light)
    sheet.box(x - half, y, x + half, y + tall, dark)
    sheet.line([(x, y - (half if arched else 0)), (x, y + tall)], light, 0.004)
    sheet.line([(x - half, y + tall * 0.45), (x + half, y + tall * 0.45)], light, 0.004)


def palace(sheet: Sheet, rng: Rng, foot: float, wall: Colour, roof: Colour) -> str:
    """A long front with storeys of windows, a cornice and a portal."""
    middle, half = sheet.width / 2 + rng.uniform(-0.05, 0.05), sheet.width * rng.uniform(0.36, 0.47)
    storeys, bays = int(rng.integers(2, 5)), int(rng.integers(5, 10))
    top = foot - rng.uniform(0.12, 0.15) * storeys - 0.04
    left, right = middle - half, middle + half
    sheet.polygon([(left - 0.02, top), (left + 0.05, top - 0.11), (right - 0.05, top - 0.11), (right + 0.02, top)], roof)
    sheet.box(left, top, right, foot, wall)
    sheet.box(left - 0.015, top, right + 0.015, top + 0.018, shade(wall, 1.2))
    step, arched = (foot - top - 0.02) / storeys, rng.random() < 0.4
    for storey in range(storeys):
        y = top + 0.03 + storey * step
        for bay in range(bays):
            x = left + (bay + 0.5) * 2 * half / bays
            window(sheet, x, y + 0.02, half / bays * 0.42, step * 0.5, wall, arched)
        sheet.line([(left, y + step - 0.01), (right, y + step - 0.01)], shade(wall, 0.78), 0.006)
    sheet.box(middle - 0.05, foot - 0.13, middle + 0.05, foot, shade(wall, 1.15))
    sheet.box(middle - 0.035, foot - 0.11, middle + 0.035, foot, rgb("4a3426"))
    if rng.random() < 0.6:
        sheet.polygon([(middle - 0.16, top), (middle + 0.16, top), (middle, top - 0.1)], shade(wall, 1.1))
    return "Palace front"


def church(sheet: Sheet, rng: Rng, foot: float, wall: Colour, roof: Colour) -> str:
    """A nave and a tower with a pointed roof."""
    side = 1 if rng.random() < 0.5 else -1
    middle = sheet.width / 2 - side * 0.08
    nave, top = sheet.width * 0.3, foot - rng.uniform(0.26, 0.34)
    sheet.polygon(
        [
            (middle - nave - 0.02, top),
            (middle - nave + 0.1, top - 0.16),
            (middle + nave - 0.1, top - 0.16),
            (middle + nave + 0.02, top),
        ],
        roof,
    )
    sheet.box(middle - nave, top, middle + nave, foot, wall)
    for bay in np.linspace(-0.75, 0.75, 5):
        window(sheet, middle + float(bay) * nave, top + 0.1, nave * 0.09, 0.13, wall, True)
    x, half, head = middle + side * (nave + 0.02), rng.uniform(0.08, 0.11), foot - rng.uniform(0.5, 0.58)
    sheet.box(x - half, head, x + half, foot, shade(wall, 1.08))
    sheet.box(x + half * 0.55, head, x + half, foot, shade(wall, 0.82))
    sheet.polygon([(x - half * 1.15, head), (x + half * 1.15, head), (x, head - rng.uniform(0.18, 0.3))], roof)
    for y in (head + 0.08, head + 0.25):
        window(sheet, x - half * 0.1, y, half * 0.28, 0.09, wall, True)
    sheet.box(x - half * 0.4, foot - 0.1, x + half * 0.35, foot, rgb("4a3426"))
    return "Church with a tower"


def houses(sheet: Sheet, rng: Rng, foot: float, wall: Colour, roof: Colour) -> str:
    """A street of gabled houses."""
    x = 0.02
    while x < sheet.width - 0.1:
        wide, top = rng.uniform(0.17, 0.27), foot - rng.uniform(0.34, 0.5)
        own, gable = tint(rng, STONES, 0.08), top - rng.uniform(0.1, 0.17)
        sheet.polygon([(x, top), (x + wide / 2, gable), (x + wide, top)], own if rng.random() < 0.6 else roof)
        for step in range(1, 4) if rng.random() < 0.5 else ():
            rise = (top - gable) * step / 4
            sheet.box(x + wide * step / 10, top - rise, x + wide * (1 - step / 10), top, own)
        sheet.box(x, top, x + wide - 0.006, foot, own)
        sheet.box(x + wide - 0.012, top, x + wide - 0.006, foot, shade(own, 0.6))
        rows, columns = int(rng.integers(3, 5)), int(rng.integers(2, 4))
        for row in range(rows - 1):
            for column in range(columns):
                place = x + wide * (column + 0.5) / columns
                window(sheet, place, top + 0.03 + row * (foot - top) / rows, wide / columns * 0.25, 0.065, own, False)
        sheet.box(x + wide * 0.38, foot - 0.1, x + wide * 0.6, foot, shade(rgb("6a4630"), rng.uniform(0.6, 1.2)))
        x += wide
    return "Street with gabled houses"


def temple(sheet: Sheet, rng: Rng, foot: float, wall: Colour, roof: Colour) -> str:
    """Columns under a pediment."""
    middle, half = sheet.width / 2, sheet.width * rng.uniform(0.33, 0.42)
    top, count = foot - rng.uniform(0.34, 0.42), int(rng.integers(4, 9))
    for step in range(3):
        edge = half + 0.06 - step * 0.02
        sheet.box(middle - edge, foot - 0.025 * (step + 1), middle + edge, foot - 0.025 * step, shade(wall, 0.9 + step / 10))
    sheet.box(middle - half, top, middle + half, foot - 0.07, shade(wall, 0.45))
    for column in range(count):
        x = middle - half + (column + 0.5) * 2 * half / count
        wide = half / count * 0.42
        sheet.box(x - wide, top, x + wide, foot - 0.07, wall)
        sheet.box(x + wide * 0.3, top, x + wide, foot - 0.07, shade(wall, 0.8))
        sheet.box(x - wide * 1.4, top, x + wide * 1.4, top + 0.02, shade(wall, 1.15))
    sheet.box(middle - half - 0.03, top - 0.06, middle + half + 0.03, top, shade(wall, 1.1))
    sheet.polygon([(middle - half - 0.05, top - 0.06), (middle + half + 0.05, top - 0.06), (middle, top - 0.2)], wall)
    sheet.polygon(
        [(middle - half + 0.03, top - 0.075), (middle + half - 0.03, top - 0.075), (middle, top - 0.17)],
        shade(wall, 0.7),
    )
    return "Temple with columns"


def castle(sheet: Sheet, rng: Rng, foot: float, wall: Colour, roof: Colour) -> str:
    """Walls and towers with battlements."""

    def block(left: float, right: float, top: float, tone: Colour) -> None:
        sheet.box(left, top, right, foot, tone)
        sheet.box(right - (right - left) * 0.25, top, right, foot, shade(tone, 0.8))
        count = max(2, round((right - left) / 0.05))
        for tooth in range(count):
            x = left + (right - left) * tooth / count
            sheet.box(x, top - 0.03, x + (right - left) / count * 0.55, top, tone)

    middle, half = sheet.width / 2, sheet.width * rng.uniform(0.3, 0.4)
    block(middle - half, middle + half, foot - rng.uniform(0.24, 0.3), wall)
    for side in (-1.0, rng.uniform(-0.4, 0.4), 1.0):
        wide, top = rng.uniform(0.07, 0.11), foot - rng.uniform(0.38, 0.55)
        x = middle + side * half
        block(x - wide, x + wide, top, shade(wall, 1.1))
        for y in (top + 0.07, top + 0.2):
            window(sheet, x - wide * 0.15, y, wide * 0.2, 0.06, wall, True)
        if rng.random() < 0.5:
            sheet.polygon([(x - wide * 1.1, top - 0.03), (x + wide * 1.1, top - 0.03), (x, top - 0.2)], roof)
    sheet.ellipse(middle, foot - 0.12, 0.06, 0.06, rgb("3a2e26"))
    sheet.box(middle - 0.06, foot - 0.12, middle + 0.06, foot, rgb("3a2e26"))
    return "Castle with towers"


BUILDINGS: tuple[Callable[[Sheet, Rng, float, Colour, Colour], str], ...] = (palace, church, houses, temple, castle)


def building(rng: Rng, width: float) -> Plate:
    """A building that fills the picture, on paving."""
    sheet = Sheet(width, sky(rng, width, pick(rng, tuple(SKIES))))
    foot, ground = rng.uniform(0.82, 0.92), tint(rng, ("a59a86", "8f8a80", "b8ab90", "77756c"))
    sheet.box(0, foot - 0.01, width, 1, ground)
    for x in np.linspace(-1, width + 1, 18):
        sheet.line([(width / 2 + (x - width / 2) * 0.5, foot), (float(x), 1.0)], shade(ground, 0.85), 0.004)
    draw = BUILDINGS[int(rng.integers(len(BUILDINGS)))]
    title = draw(sheet, rng, foot, tint(rng, STONES), tint(rng, ROOFS))
    return Plate(sheet.pixels(), title)


def country_house(rng: Rng, width: float) -> Plate:
    """A building in open country: both the building and the landscape are the subject."""
    ground = landscape(rng, width)
    foot = rng.uniform(0.68, 0.76)
    # The building stands on a smaller sheet and is laid over the land, so that the land stays in sight around it.
    inner = width * rng.uniform(0.5, 0.62)
    key = (1.0, 0.0, 1.0)
    sheet = Sheet(inner, key)
    solid = (palace, church, castle, temple)
    title = solid[int(rng.integers(len(solid)))](sheet, rng, 0.98, tint(rng, STONES), tint(rng, ROOFS))
    part = sheet.pixels()
    # Half-covered edge pixels carry the key colour; they fall away with the strict threshold.
    cover = (np.abs(part - np.array(key, dtype=np.float32)).sum(axis=2) > 1.15).astype(np.float32)
    height = int(HEIGHT * foot)
    part, cover = part[-height:], cover[-height:]
    left = int(rng.uniform(0.1, 0.9) * (ground.pixels.shape[1] - part.shape[1]))
    pixels = ground.pixels.copy()
    region = pixels[:height, left : left + part.shape[1]]
    region[:] = region * (1 - cover[..., None]) + part * cover[..., None]
    return Plate(pixels, f"{title} in a {ground.title[0].lower()}{ground.title[1:]}")


def face(
    sheet: Sheet, rng: Rng, place: tuple[float, float, float], skin: Colour, hair: Colour, look: float, *, beard: bool
) -> None:
    """Head with features; `look` moves them to one side, as in a three-quarter view."""
    x, y, size = place
    wide, tall = size * 0.74, size
    dark = shade(skin, 0.72)
    sheet.ellipse(x - wide * 0.98, y + size * 0.05, size * 0.12, size * 0.2, dark)
    sheet.ellipse(x + wide * 0.98, y + size * 0.05, size * 0.12, size * 0.2, dark)
    sheet.ellipse(x, y, wide, tall, skin)
    if beard:
        sheet.ellipse(x, y + size * 0.68, wide * 0.82, size * 0.5, hair)
        sheet.ellipse(x, y + size * 0.12, wide * 0.8, size * 0.42, skin)
    centre, eyes = x + look * size * 0.22, y - size * 0.05
    for side in (-1, 1):
        spot = centre + side * size * 0.3
        sheet.ellipse(spot, eyes, size * 0.13, size * 0.065, (0.95, 0.93, 0.9))
        sheet.ellipse(spot + look * size * 0.03, eyes, size * 0.062, size * 0.066, rgb("3a2c24"))
        sheet.arc(spot, eyes + size * 0.01, size * 0.15, size * 0.1, 190, 350, shade(skin, 0.45), size * 0.035)
        sheet.arc(spot, eyes - size * 0.07, size * 0.2, size * 0.13, 205, 335, shade(hair, 0.8), size * 0.06)
    nose = [(centre + look * size * 0.05, eyes), (centre + look * size * 0.13 + size * 0.06, y + size * 0.3)]
    sheet.line([*nose, (centre - size * 0.04, y + size * 0.33)], dark, size * 0.045)
    lips = blend(skin, rgb("8a2f33"), rng.uniform(0.45, 0.8))
    sheet.ellipse(centre, y + size * 0.55, size * rng.uniform(0.18, 0.24), size * 0.055, lips)
    sheet.line([(centre - size * 0.2, y + size * 0.55), (centre + size * 0.2, y + size * 0.55)], shade(lips, 0.6), size * 0.02)


def portrait(rng: Rng, width: float) -> Plate:
    """Head and shoulders of one person before a plain ground."""
    size = extent(width)
    back = tint(rng, ("4a3f36", "3d4a45", "6b6258", "7a8288", "574038", "8f8672", "39404d"))
    ground = plain(size, back) * (0.75 + 0.5 * clouds(rng, size, 2.0))[..., None]
    sheet = Sheet(width, ground)
    x, y, head = width / 2 + rng.uniform(-0.05, 0.05), rng.uniform(0.36, 0.44), rng.uniform(0.17, 0.235)
    skin, hair, cloth = tint(rng, SKINS), tint(rng, HAIRS), tint(rng, CLOTHES)
    woman = rng.random() < 0.5
    look = rng.uniform(-1, 1)
    if woman:
        long = rng.uniform(0.7, 1.5)
        sheet.ellipse(x, y + head * 0.25 * long, head * 1.05, head * (1.0 + 0.35 * long), hair)
    shoulder = y + head * 1.55
    span = head * rng.uniform(1.8, 2.3)
    sheet.ellipse(x, shoulder + 0.36, span, 0.4, cloth)
    sheet.polygon(
        [(x - span, shoulder + 0.36), (x + span, shoulder + 0.36), (x + span * 1.1, 1.1), (x - span * 1.1, 1.1)], cloth
    )
    sheet.polygon(
        [
            (x - head * 0.42, y),
            (x + head * 0.42, y),
            (x + head * 0.55, shoulder + 0.02),
            (x, shoulder + 0.13),
            (x - head * 0.55, shoulder + 0.02),
        ],
        shade(skin, 0.82),
    )
    collar(sheet, rng, x, shoulder, head, cloth)
    face(sheet, rng, (x, y, head), skin, hair, look, beard=not woman and rng.random() < 0.4)
    hairdo(sheet, rng, x, y, head, hair)
    pixels = sheet.pixels()
    # One soft light from the side gives the flat shapes their roundness.
    column = (np.arange(size[1], dtype=np.float32) / HEIGHT - x) / head
    side = np.float32(1 if look < 0 else -1)
    fall = 1.06 - 0.3 * smooth(-0.2, 1.3, (column * side).astype(np.float32))
    return Plate(pixels * fall[None, :, None], f"Portrait of a {'woman' if woman else 'man'}, half length")


def collar(sheet: Sheet, rng: Rng, x: float, y: float, head: float, cloth: Colour) -> None:
    """Ruff, lapels or a necklace."""
    kind = rng.integers(4)
    if kind == 0:
        for turn in np.linspace(-1.2, 1.2, 11):
            place = (x + math.sin(turn) * head * 0.95, y - head * 0.1 + math.cos(turn) * head * 0.28)
            sheet.ellipse(*place, head * 0.2, head * 0.2, shade(rgb("e9e6dc"), rng.uniform(0.85, 1.05)))
    elif kind == 1:
        white = rgb("eeeae0")
        sheet.polygon([(x - head * 0.4, y), (x + head * 0.4, y), (x, y + head * 1.2)], white)
        for side in (-1, 1):
            corners = [(x + side * head * 0.45, y - 0.01), (x + side * head * 1.0, y + head * 0.6), (x, y + head * 1.6)]
            sheet.polygon(corners, shade(cloth, 0.75))
        sheet.polygon([(x - head * 0.16, y + head * 0.1), (x + head * 0.16, y + head * 0.1), (x, y + head)], shade(cloth, 0.5))
    elif kind == 2:
        for turn in np.linspace(-1.1, 1.1, 17):
            place = (x + math.sin(turn) * head * 0.5, y - head * 0.05 + math.cos(turn) * head * 0.4)
            sheet.ellipse(*place, head * 0.05, head * 0.05, rgb("f0e6c8"))
    else:
        sheet.arc(x, y - head * 0.1, head * 0.6, head * 0.6, 20, 160, shade(cloth, 1.5), head * 0.12)


def hairdo(sheet: Sheet, rng: Rng, x: float, y: float, head: float, hair: Colour) -> None:
    """Hair on top, a hat on some."""
    sheet.draw.pieslice(
        sheet.points([(x - head * 0.8, y - head * 1.1), (x + head * 0.8, y + head * 0.55)]),
        180,
        360,
        fill=bytes_of(hair),
    )
    skin_line = y - head * 0.28
    sheet.polygon([(x - head * 0.8, skin_line), (x - head * 0.62, y + head * 0.2), (x - head * 0.8, y + head * 0.25)], hair)
    sheet.polygon([(x + head * 0.8, skin_line), (x + head * 0.62, y + head * 0.2), (x + head * 0.8, y + head * 0.25)], hair)
    if rng.random() < 0.3:
        felt = tint(rng, ("1f1d20", "5a3a2a", "6b1f26", "c9b48a", "2c3a50"))
        sheet.ellipse(x, y - head * 0.55, head * 1.3, head * 0.2, felt)
        sheet.ellipse(x, y - head * 0.85, head * 0.8, head * 0.5, shade(felt, 1.12))
        sheet.ellipse(x, y - head * 0.62, head * 0.82, head * 0.16, shade(felt, 0.7))


def figure(sheet: Sheet, rng: Rng, x: float, foot: float, tall: float, *, one: Colour | None = None) -> None:
    """A person from head to foot; `one` colour makes a silhouette."""
    skin, hair, cloth = one or tint(rng, SKINS), one or tint(rng, HAIRS), one or tint(rng, CLOTHES, 0.1)
    low = one or tint(rng, CLOTHES)
    head, neck, hip = tall * 0.075, foot - tall * 0.82, foot - tall * 0.46
    wide = tall * rng.uniform(0.1, 0.14)
    if rng.random() < 0.5:  # a long dress
        hem = wide * rng.uniform(1.5, 2.2)
        sheet.polygon([(x - wide * 0.7, hip), (x + wide * 0.7, hip), (x + hem, foot), (x - hem, foot)], low)
    else:
        for side in (-1, 1):
            step = side * wide * rng.uniform(0.5, 1.0)
            sheet.line([(x + side * wide * 0.35, hip), (x + step, foot)], low, wide * 0.75)
            sheet.ellipse(x + step + wide * 0.15, foot, wide * 0.4, wide * 0.16, shade(low, 0.5))
    sheet.polygon([(x - wide, neck), (x + wide, neck), (x + wide * 0.75, hip + 0.02), (x - wide * 0.75, hip + 0.02)], cloth)
    for side in (-1, 1):
        elbow = (x + side * wide * rng.uniform(1.1, 1.7), neck + tall * 0.18)
        hand = (elbow[0] + rng.uniform(-1, 1) * wide, elbow[1] + tall * rng.uniform(-0.1, 0.17))
        sheet.line([(x + side * wide * 0.9, neck + tall * 0.02), elbow, hand], shade(cloth, 0.85), wide * 0.42)
        sheet.ellipse(*hand, wide * 0.22, wide * 0.22, skin)
    sheet.line([(x, neck - head), (x, neck + 0.01)], skin, head * 0.9)
    sheet.ellipse(x, neck - head * 1.25, head * 1.02, head * 1.2, hair)
    sheet.ellipse(x + head * 0.1, neck - head * 1.05, head * 0.8, head, skin)
    if rng.random() < 0.4:
        sheet.ellipse(x, neck - head * 1.75, head * 1.7, head * 0.3, low)
        sheet.ellipse(x, neck - head * 2.0, head * 0.95, head * 0.65, low)


def people(rng: Rng, width: float, ground: Floats | None = None) -> Plate:
    """Two to six people standing side by side, indoors unless a ground is given."""
    sheet = Sheet(width, room(rng, width) if ground is None else ground)
    count = int(rng.integers(2, 4 + round(width * 1.6)))
    places = np.linspace(0.14, 0.86, count) * width
    for x in places:
        foot = rng.uniform(0.88, 0.97)
        figure(sheet, rng, float(x) + rng.uniform(-0.03, 0.03), foot, rng.uniform(0.6, 0.8))
    words = {2: "Two figures", 3: "Three figures", 4: "Four figures"}.get(count, "Group of figures")
    return Plate(sheet.pixels(), words + (" in a room" if ground is None else ""))


def outing(rng: Rng, width: float) -> Plate:
    """People in open country."""
    ground = landscape(rng, width)
    group = people(rng, width, ground.pixels)
    return Plate(group.pixels, f"{group.title} in a {ground.title[0].lower()}{ground.title[1:]}")


def room(rng: Rng, width: float) -> Floats:
    """A wall, a floor and light from a window on one side."""
    wall, floor = tint(rng, ("8d8574", "6f7a78", "a08c70", "77706a")), tint(rng, ("6a4f38", "7d6a55", "55504a"))
    sheet = Sheet(width, wall)
    level = rng.uniform(0.74, 0.84)
    sheet.box(0, level, width, 1, floor)
    sheet.box(0, level - 0.03, width, level, shade(wall, 0.7))
    if rng.random() < 0.6:
        x = rng.uniform(0.1, 0.7) * width
        sheet.box(x, 0.08, x + 0.2, 0.45, shade(wall, 1.4))
        sheet.outline(x, 0.08, x + 0.2, 0.45, shade(wall, 0.6), 0.012)
    pixels = sheet.pixels()
    light = blurred(clouds(rng, sheet.size, 1.5, 1), 6)
    return pixels * (0.75 + 0.45 * light)[..., None]

"""JPEGs like those of an archive's web server: about 270 KB and 1.8 megapixels each, all of different content.

They are drawn from the photographs that come inside scikit-image: crops, flips, turns, other colours and light, some of
a second photograph over it. Picture N is always the same; what is there already is not made again.
"""

import json
import math
import shutil
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

VERSION = 1  # raise it when pictures come out different: the old ones are then thrown away
PIXELS = 1_800_000
LONG_SIDE_PX = (1_350, 1_650)
BYTES = 270_000
TOLERANCE = 0.05  # of the bytes wanted
QUALITIES, FIRST_QUALITY = (50, 97), 87
SAME_HASH = 3  # so many pictures may share one difference hash
ATTEMPTS = 20
MAKERS = 2
REMEMBERED = 250  # so many pictures are lost at most when the making is cut off
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "hubble_deep_field", "stereo_motorcycle", "camera", "moon", "coins")


@dataclass(frozen=True)
class Picture:
    """One file of the collection; `difference_hash` is 64 bits in hex."""

    name: str
    size_bytes: int
    difference_hash: str
    attempt: int = 0


def make_pictures(folder: Path, count: int) -> list[Picture]:
    """The first `count` pictures, as files in `folder`; prints how it goes and what came out."""
    known = _known(folder)
    missing = [number for number in range(count) if number not in known]
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        for number, picture in _made(folder, [(number, 0) for number in missing]):
            known[number] = picture
            if len(known) % REMEMBERED == 0:
                _remember(folder, known)
        _make_distinct(folder, known)
        _remember(folder, known)
    pictures = [known[number] for number in range(count)]
    shared = max(Counter(picture.difference_hash for picture in pictures).values())
    mean = statistics.mean(picture.size_bytes for picture in pictures)
    print(f"{count} pictures, {mean:,.0f} bytes each on average; at most {shared} share a difference hash", flush=True)
    return pictures


def _make_distinct(folder: Path, known: dict[int, Picture]) -> None:
    """Make those anew, from other random numbers, whose difference hash too many others have already."""
    for attempt in range(1, ATTEMPTS):
        again, seen = [], Counter[str]()
        for number in sorted(known):
            seen[known[number].difference_hash] += 1
            if seen[known[number].difference_hash] > SAME_HASH:
                again.append((number, attempt))
        if not again:
            return
        known.update(_made(folder, again))
    raise RuntimeError("the pictures are too much like each other")


def _made(folder: Path, wanted: Sequence[tuple[int, int]]) -> Iterator[tuple[int, Picture]]:
    """Make pictures in two processes, with a line of progress every few seconds."""
    started = shown = time.monotonic()
    with ProcessPoolExecutor(MAKERS) as makers:
        for done, picture in enumerate(makers.map(partial(_make, folder), wanted, chunksize=8), 1):
            if time.monotonic() - shown > 10 or done == len(wanted):
                shown = time.monotonic()
                print(f"making pictures: {done} of {len(wanted)}, {done / (shown - started):.0f}/s", flush=True)
            yield wanted[done - 1][0], picture


def _known(folder: Path) -> dict[int, Picture]:
    """What an earlier call has left, if it was made in the same way and lies there whole."""
    index = folder / "index.json"
    value: dict[str, Any] = json.loads(index.read_text()) if index.exists() else {}
    if value.get("version") != VERSION:
        shutil.rmtree(folder, ignore_errors=True)
        return {}
    pictures = {int(number): Picture(**picture) for number, picture in value["pictures"].items()}
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.jpg")}
    return {number: picture for number, picture in pictures.items() if sizes.get(picture.name) == picture.size_bytes}


def _remember(folder: Path, known: dict[int, Picture]) -> None:
    value = {"version": VERSION, "pictures": {number: known[number].__dict__ for number in sorted(known)}}
    (folder / "index.json").write_text(json.dumps(value))


def _make(folder: Path, wanted: tuple[int, int]) -> Picture:
    """Draw one picture and write it; `wanted` is its number and the attempt."""
    number, attempt = wanted
    rng = np.random.default_rng((VERSION, number, attempt))
    long = int(rng.integers(*LONG_SIDE_PX, endpoint=True))
    size = (long, round(PIXELS / long)) if rng.random() < 0.6 else (round(PIXELS / long), long)
    # The photographs themselves are small: drawn at a third of the size and enlarged once, hardly anything is lost.
    picture = _drawn((size[0] // 3, size[1] // 3), rng)
    content = _encoded(picture.resize(size, Image.Resampling.BICUBIC), rng)
    name = f"{number:05d}.jpg"
    (folder / name).write_bytes(content)
    return Picture(name, len(content), _difference_hash(picture), attempt)


def _drawn(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A part of one photograph with some of another over it, in other colours and another light."""
    first, second = (_part(_photographs()[index], size, rng) for index in rng.choice(len(_photographs()), 2, replace=False))
    channels = Image.blend(first, second, float(rng.uniform(0.15, 0.4))).split()
    gamma, gain = float(rng.uniform(0.75, 1.3)), float(rng.uniform(0.85, 1.15))
    # Each channel a little differently: like scans, whose colours are never quite the same.
    lights = [_light(gamma * float(rng.uniform(0.85, 1.15)), gain * float(rng.uniform(0.93, 1.07))) for _ in channels]
    return Image.merge("RGB", [channel.point(light) for channel, light in zip(channels, lights, strict=True)])


def _part(photograph: Image.Image, size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """A random crop with the proportions of `size`, slightly turned, perhaps mirrored or on its side, brought to it."""
    if rng.random() < 0.5:
        photograph = photograph.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.3:
        photograph = photograph.transpose(Image.Transpose.ROTATE_90)
    scale = min(photograph.width / size[0], photograph.height / size[1]) * float(rng.uniform(0.4, 0.8))
    width, height = size[0] * scale, size[1] * scale
    centre = rng.uniform(width / 2, photograph.width - width / 2), rng.uniform(height / 2, photograph.height - height / 2)
    angle = math.radians(float(rng.uniform(-8, 8)))
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    # Where the middle of the result lies in the photograph decides the shift.
    shift_x = centre[0] - cos * size[0] / 2 - sin * size[1] / 2
    shift_y = centre[1] + sin * size[0] / 2 - cos * size[1] / 2
    matrix = (cos, sin, shift_x, -sin, cos, shift_y)
    return photograph.transform(size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)


def _light(gamma: float, gain: float) -> list[int]:
    """A table of 256 grey levels."""
    return [min(255, round(255 * gain * (level / 255) ** gamma)) for level in range(256)]


def _encoded(picture: Image.Image, rng: np.random.Generator) -> bytes:
    """As a JPEG with a mild grain, at the quality that comes nearest to the bytes wanted."""
    pixels = np.asarray(picture, dtype=np.int16)
    shift = rng.integers(0, 64, 2)
    grain = _grain()[shift[0] : shift[0] + pixels.shape[0], shift[1] : shift[1] + pixels.shape[1], None]
    grainy = np.clip(pixels + grain, 0, 255).astype(np.uint8)
    low, high = QUALITIES
    quality, best = FIRST_QUALITY, b""
    while low <= high:
        content: bytes = simplejpeg.encode_jpeg(grainy, quality=quality, colorsubsampling="420")
        best = min(best, content, key=lambda one: abs(len(one) - BYTES))
        if abs(len(content) - BYTES) <= TOLERANCE * BYTES:
            break
        low, high = (quality + 1, high) if len(content) < BYTES else (low, quality - 1)
        # A step of quality is worth about 7 % of bytes here.
        quality = min(high, max(low, quality + round(math.log(BYTES / len(content)) / 0.07)))
    return best


def _difference_hash(picture: Image.Image) -> str:
    """Whether each of 8 × 8 fields is lighter than its left neighbour."""
    grey = np.asarray(picture.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    return np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes().hex()


@cache
def _grain() -> np.ndarray:
    """Film grain of a few grey levels, larger than any picture: a random part of it does for each."""
    side = LONG_SIDE_PX[1] + 64
    return np.random.default_rng(VERSION).normal(0, 3, (side, side)).round().astype(np.int16)


@cache
def _photographs() -> list[Image.Image]:
    """The photographs as RGB; a stereo pair counts with its left half."""
    from skimage import data

    loaded = (getattr(data, name)() for name in PHOTOGRAPHS)
    arrays = (one[0] if isinstance(one, tuple) else one for one in loaded)
    return [Image.fromarray(array).convert("RGB") for array in arrays]

"""Why a model said so, as one picture: maps over the picture, scores with thresholds, the nearest training pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from pipeline.model.examples import Neighbour
from pipeline.model.explain import maps_of, resized
from pipeline.model.predictor import Floats, Predictor
from pipeline.model.preprocessing import Pixels

NO_EXAMPLES = "no training examples stored with this version"
NOTHING_SPEAKS = "nothing on the picture speaks for it"

_CELL, _GAP, _ACROSS = 250, 16, 5  # px, px, cells in a row
_WIDTH = _GAP + _ACROSS * (_CELL + _GAP)
_LINE, _TEXT, _HEADING = 18, 14, 18  # px: distance of lines, sizes of type
_LINES = 4  # below a picture
_INK, _PAPER, _BOX = (32, 32, 32), (255, 255, 255), (238, 238, 238)
# Colours of a map from 0 to 1, told apart also by those who do not tell red from green.
_STOPS = (0.0, 0.35, 0.7, 1.0)
_COLOURS = ((43, 24, 110), (150, 40, 130), (240, 110, 60), (255, 235, 90))
_MOST_OPAQUE = 0.75


@dataclass(frozen=True)
class ShownConcept:
    """A concept's calibrated score, its threshold of publication, the decision in a word, and its map (rows, columns)."""

    label: str
    score: float
    threshold: float | None
    decision: str
    heat: Floats


@dataclass(frozen=True)
class ShownExample:
    """A near training picture; `picture` is None where the file is not at hand, `note` a word to it."""

    neighbour: Neighbour
    picture: Image.Image | None = None
    note: str = ""


@dataclass(frozen=True)
class Explanation:
    """All that is drawn of one prediction; `examples` None: the version has none stored."""

    title: str
    picture: Image.Image
    concepts: Sequence[ShownConcept]
    examples: Sequence[ShownExample] | None = field(default=None)


def overlay(picture: Image.Image, heat: Floats) -> Image.Image:
    """An RGB picture of the same size with a map (rows, columns) of 0–1 over it: dark to bright, clear where it is 0."""
    values = np.clip(resized(heat, picture.size), 0, 1)
    colours = np.stack([np.interp(values, _STOPS, [colour[band] for colour in _COLOURS]) for band in range(3)], axis=-1)
    opaque = (_MOST_OPAQUE * np.sqrt(values))[..., None]
    mixed = np.asarray(picture.convert("RGB"), dtype=np.float32) * (1 - opaque) + colours * opaque
    return Image.fromarray(np.round(mixed).astype(np.uint8))


def explained(predictor: Predictor, pixels: Pixels, concepts: Sequence[str]) -> list[Image.Image]:
    """For each of n pictures, uint8 (n, side, side, 3), the map of its own concept over it: concepts are n slugs.

    Returns n RGB pictures of side × side px. Raises ValueError when the numbers differ, else as `maps_of`.
    """
    if len(pixels) != len(concepts):
        raise ValueError(f"{len(pixels)} pictures, {len(concepts)} concepts")
    shown = []
    for picture, slug in zip(pixels, concepts, strict=True):
        heat = maps_of(predictor, picture[None], [slug])[0, 0]
        shown.append(overlay(Image.fromarray(picture), heat))
    return shown


def drawn(explanation: Explanation) -> Image.Image:
    """One RGB picture, five cells across: the picture and its maps in the first row, its near ones in the second."""
    row_height = _CELL + _LINES * _LINE + _GAP
    lower = _GAP + 2 * _LINE + row_height + _GAP
    height = lower + 2 * _LINE + (row_height if explanation.examples else _GAP)
    page = Image.new("RGB", (_WIDTH, height), _PAPER)
    draw = ImageDraw.Draw(page)
    _heading(draw, _GAP, explanation.title)
    cells = [(explanation.picture, ["the picture"]), *_concept_cells(explanation)]
    for place, (shown, lines) in enumerate(cells[:_ACROSS]):
        _cell(page, place, _GAP + 2 * _LINE, shown, lines)
    _heading(draw, lower, "nearest training pictures" if explanation.examples else NO_EXAMPLES)
    for place, example in enumerate((explanation.examples or ())[:_ACROSS]):
        _cell(page, place, lower + 2 * _LINE, example.picture, _example_lines(example))
    return page


def _concept_cells(explanation: Explanation) -> Iterator[tuple[Image.Image, list[str]]]:
    for concept in explanation.concepts:
        limit = f"threshold {concept.threshold:.3f}" if concept.threshold is not None else "never published"
        lines = [f"{concept.label}: {concept.decision}", f"score {concept.score:.3f}, {limit}"]
        yield overlay(explanation.picture, concept.heat), lines + ([] if concept.heat.any() else [NOTHING_SPEAKS])


def _example_lines(example: ShownExample) -> list[str]:
    near = example.neighbour
    said = ", ".join(near.concepts) or "none of the concepts"
    note = f" ({example.note})" if example.note else ""
    return [f"cosine {near.similarity:.3f}{note}", said, near.record_id]


def _cell(page: Image.Image, place: int, top: int, picture: Image.Image | None, lines: Sequence[str]) -> None:
    """A picture with lines below it; without one, the lines in a box of its size."""
    draw, left = ImageDraw.Draw(page), _GAP + place * (_CELL + _GAP)
    font = ImageFont.load_default(_TEXT)
    inset, most = 0, _LINES
    if picture is not None:
        fitted = ImageOps.contain(picture, (_CELL, _CELL), Image.Resampling.LANCZOS)
        page.paste(fitted, (left, top))
        top += fitted.height + 4
    else:
        draw.rectangle((left, top, left + _CELL, top + _CELL), fill=_BOX)
        inset, most, top = 12, _CELL // _LINE - 1, top + 12
    wrapped = [part for line in lines for part in _wrapped(line, font, _CELL - 2 * inset)]
    for number, line in enumerate(wrapped[:most]):
        draw.text((left + inset, top + number * _LINE), line, fill=_INK, font=font)


def _heading(draw: ImageDraw.ImageDraw, top: int, text: str) -> None:
    font = ImageFont.load_default(_HEADING)
    draw.text((_GAP, top), next(_wrapped(text, font, _WIDTH - 2 * _GAP)), fill=_INK, font=font)


def _wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> Iterator[str]:
    """Lines that fit, broken between words where there are any."""
    while font.getlength(text) > width:
        fits = next(count for count in range(len(text), 0, -1) if font.getlength(text[:count]) <= width or count == 1)
        at = text.rfind(" ", 0, fits + 1)
        at = at if at > 0 else fits
        yield text[:at]
        text = text[at:].lstrip()
    yield text

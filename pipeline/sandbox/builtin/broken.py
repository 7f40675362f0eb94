"""Records that are wrong on purpose, so that every stage has something to refuse."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image

from pipeline.sandbox.builtin.canvas import Rng
from pipeline.sandbox.builtin.finish import encoded, uniform

Fault = Callable[[Rng, Image.Image, Path], None]

HTML = """<!DOCTYPE html>
<html lang="en"><head><title>Image not available</title></head>
<body><h1>Image not available</h1><p>The requested image has moved. Please use the viewer.</p></body></html>
"""


def _dead(rng: Rng, image: Image.Image, path: Path) -> None:
    """The record names a file that is not there."""


def _html(rng: Rng, image: Image.Image, path: Path) -> None:
    path.write_text(HTML, encoding="utf-8")


def _truncated(rng: Rng, image: Image.Image, path: Path) -> None:
    data = encoded(image, ".jpg")
    path.write_bytes(data[: int(len(data) * rng.uniform(0.3, 0.7))])


def _tiny(rng: Rng, image: Image.Image, path: Path) -> None:
    path.write_bytes(encoded(image.resize((16, 16)), ".jpg"))


def _blank(rng: Rng, image: Image.Image, path: Path) -> None:
    path.write_bytes(encoded(uniform(image.size), ".jpg"))


# What is wrong → how many records have it, and how their file is written. `missing` records name no file at all.
FAULTS: dict[str, tuple[int, Fault]] = {
    "dead": (4, _dead),
    "html": (4, _html),
    "truncated": (4, _truncated),
    "missing": (4, _dead),
    "tiny": (2, _tiny),
    "blank": (2, _blank),
}
DUPLICATES = 2

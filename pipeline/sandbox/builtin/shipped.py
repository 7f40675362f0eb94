"""Real photographs that lie inside the installed scikit-image and scikit-learn packages; nothing is downloaded.

Only pictures whose licence the packages state are used: scikit-image in the notes of `skimage.data`, scikit-learn in
`sklearn/datasets/images/README.txt`. A picture that a release leaves out is left out here too.
"""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

LONG_SIDE = 400
PUBLIC_DOMAIN = "http://creativecommons.org/publicdomain/mark/1.0/"
ZERO = "http://creativecommons.org/publicdomain/zero/1.0/"
BY_2 = "http://creativecommons.org/licenses/by/2.0/"


@dataclass(frozen=True)
class Shipped:
    """One photograph within a package, with what its documentation says about it."""

    package: str
    path: str
    title: str
    creator: str
    rights: str
    concepts: tuple[str, ...]
    split: str
    not_annotated: tuple[str, ...] = ()


PHOTOGRAPHS = (
    Shipped("skimage", "data/astronaut.png", "Portrait of Eileen Collins, astronaut, in a flight suit", "NASA",
            PUBLIC_DOMAIN, ("photograph", "portrait", "people"), "train", ("building",)),
    Shipped("skimage", "data/camera.png", "Man with a camera on a tripod in a field", "Lav Varshney",
            ZERO, ("photograph", "people"), "train", ("building", "landscape")),
    Shipped("skimage", "data/coins.png", "Greek coins from Pompeii", "",
            PUBLIC_DOMAIN, ("photograph", "coin"), "test"),
    Shipped("skimage", "data/coffee.png", "Cup of coffee on a saucer", "Rachel Michetti",
            ZERO, ("photograph", "ceramics"), "train"),
    Shipped("skimage", "data/chelsea.png", "Chelsea the cat", "Stefan van der Walt",
            ZERO, ("photograph",), "train"),
    Shipped("skimage", "data/clock_motion.png", "Wall clock, blurred by motion of the camera", "Stefan van der Walt",
            PUBLIC_DOMAIN, ("photograph",), "test"),
    Shipped("skimage", "data/rocket.jpg", "Launch of DSCOVR on a Falcon 9", "SpaceX",
            PUBLIC_DOMAIN, ("photograph",), "train", ("landscape",)),
    Shipped("skimage", "data/hubble_deep_field.jpg", "Hubble eXtreme Deep Field", "NASA",
            PUBLIC_DOMAIN, ("photograph",), "train"),
    Shipped("skimage", "data/brick.png", "Brick wall", "",
            ZERO, ("photograph",), "train", ("building",)),
    Shipped("skimage", "data/grass.png", "Grass", "",
            ZERO, ("photograph",), "train", ("landscape",)),
    Shipped("skimage", "data/gravel.png", "Gravel", "",
            ZERO, ("photograph",), "test"),
    Shipped("skimage", "data/horse.png", "Silhouette of a horse", "Andreas Preuss (marauder)",
            ZERO, ("drawing",), "train"),
    Shipped("skimage", "data/text.png", "Handwritten characters", "",
            PUBLIC_DOMAIN, (), "train", ("manuscript", "photograph")),
    Shipped("sklearn", "datasets/images/china.jpg", "Pagoda above a lake", "danielbuechele",
            BY_2, ("photograph", "building", "landscape"), "train"),
    Shipped("sklearn", "datasets/images/flower.jpg", "Flower", "vultilion",
            BY_2, ("photograph",), "train"),
)  # fmt: skip

PROVIDERS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}


def photographs() -> list[tuple[Shipped, Image.Image]]:
    """The photographs that the installed packages really hold, scaled down."""
    found = []
    for item in PHOTOGRAPHS:
        path = _within(item.package, item.path)
        if path:
            with Image.open(path) as image:
                found.append((item, ImageOps.contain(_on_white(image), (LONG_SIDE, LONG_SIDE))))
    return found


def _within(package: str, path: str) -> Path | None:
    # The specification finds the folder without the seconds that importing the package takes.
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(folder) / path).is_file():
            return Path(folder) / path
    return None


def _on_white(image: Image.Image) -> Image.Image:
    colour = image.convert("RGBA")
    ground = Image.new("RGB", colour.size, "white")
    ground.paste(colour, (0, 0), colour)
    # Photographs without alpha come through unchanged; a silhouette stands on paper.
    return ground

"""Recipes are data: `vocab/recipes/*.yaml` says what to train and how."""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from pipeline.errors import CriticalError

KINDS = ("scratch", "frozen")


@dataclass(frozen=True)
class Recipe:
    """One way to train. `regularisation` is the C of the linear heads, `width` the first block's filters."""

    name: str
    kind: str
    side_px: int
    batch_size: int
    folds: int
    seed: int
    backbone: str = ""
    regularisation: float = 0.01
    width: int = 24
    epochs: int = 16
    learning_rate: float = 0.002

    def fingerprint(self) -> str:
        """Changes with every value of the recipe."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:8]


def load_recipe(folder: Path, name: str) -> Recipe:
    """Read a recipe; CriticalError that names the file, or lists the recipes that there are."""
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in folder.glob("*.yaml"))) or "none"
        raise CriticalError(f"no recipe {name!r} in {folder}; there are: {known}")
    try:
        recipe = Recipe(name=name, **yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, TypeError) as error:
        raise CriticalError(f"{path}: not a usable recipe ({error})") from error
    if recipe.kind not in KINDS:
        raise CriticalError(f"{path}: kind {recipe.kind!r} is not one of {', '.join(KINDS)}")
    return recipe

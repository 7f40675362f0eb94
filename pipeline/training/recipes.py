"""Recipes are data: `vocab/recipes/*.yaml` says what to train and how."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import yaml

from pipeline.errors import CriticalError

_OF_ALL = {"kind", "side_px", "batch_size", "folds", "seed"}
_OF_FROZEN = {"backbone", "weights", "regularisation", "layers", "landmarks", "sharpness", "mirror"}
_OF_TRANSFER = {
    "backbone", "weights", "regularisation", "mirror", "epochs", "learning_rate", "networks", "pooling", "dense", "dropout",
    "head_epochs", "head_learning_rate", "tune_from", "optimizer", "weight_decay", "patience", "loss", "smoothing",
    "class_weights", "most_per_concept", "fewest_per_concept", "variants", "strength", "single_label", "mixed_precision",
}  # fmt: skip
KINDS = {
    "scratch": _OF_ALL | {"width", "epochs", "learning_rate"},
    "frozen": _OF_ALL | _OF_FROZEN,
    "transfer": _OF_ALL | _OF_TRANSFER,
}
FEWEST_FOLDS = 3  # to end early
LOSSES = ("crossentropy", "focal", "asymmetric")
OPTIMIZERS = ("adamw", "rmsprop", "sgd")
POOLINGS = ("average", "maximum", "flatten")


@dataclass(frozen=True)
class Recipe:
    """One way to train.

    `scratch`: a small network; `width` is the number of its first block's filters.
    `frozen`: heads on a backbone's features, which are the mean of the last activations, or with `layers` the mean and the
    maximum of these layers' and the last ones'. The heads are linear, `regularisation` being their C; or with `landmarks`
    they look how near a picture is to so many of the trained ones, `regularisation` being their ridge.
    `transfer`: heads on a backbone's features first, then its last layers are tuned together with them.
    """

    name: str
    kind: str
    side_px: int
    batch_size: int
    folds: int  # grouped; each picture is scored by a network that never saw its group
    seed: int
    backbone: str = ""  # a name of keras.applications
    weights: str = "pretrained"  # MODEL_WEIGHTS_FILE or `imagenet`; `none`: random ones
    regularisation: float = 0.01
    layers: tuple[str, ...] = ()
    landmarks: int = 0  # 0: linear heads
    sharpness: float = 0.6  # of a picture as far away as pictures are on average: nearness exp(-2 · 0.6)
    mirror: bool = False  # the model looks at the mirror image, too
    width: int = 24
    epochs: int = 16  # of `transfer`: of its second phase
    learning_rate: float = 0.002
    # Of `transfer` alone:
    networks: int = 0  # how many of the folds are trained (their average is the model); 0: all
    pooling: str = "average"
    dense: int = 0  # width of a layer before the heads; 0: none, then the heads are fitted as `frozen` does
    dropout: float = 0.0
    head_epochs: int = 20
    head_learning_rate: float = 0.001
    tune_from: str | int = ""  # behind this layer, or so many last layers, the backbone is tuned; empty: nowhere
    optimizer: str = "adamw"
    weight_decay: float = 0.0
    patience: int = 0  # epochs without a better held-out loss after which tuning ends; 0: it goes on
    loss: str = "crossentropy"
    smoothing: float = 0.0  # of labels
    class_weights: bool = False
    most_per_concept: int = 0  # an epoch has about so many pictures of a concept at most; 0: all
    fewest_per_concept: int = 0  # and so many at least, pictures coming several times
    variants: int = 0  # changed copies of each picture
    strength: float = 0.5  # of the changes, 0–1
    single_label: bool = False
    mixed_precision: bool = False

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
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
        recipe = Recipe(name=name, **said | {"layers": tuple(said.get("layers", ()))})
    except (yaml.YAMLError, TypeError, AttributeError) as error:
        raise CriticalError(f"{path}: not a usable recipe ({error})") from error
    for field, allowed in (("kind", tuple(KINDS)), ("loss", LOSSES), ("optimizer", OPTIMIZERS), ("pooling", POOLINGS)):
        if (value := getattr(recipe, field)) not in allowed:
            raise CriticalError(f"{path}: {field} {value!r} is not one of {', '.join(allowed)}")
    if idle := sorted(said.keys() - KINDS[recipe.kind]):
        raise CriticalError(f"{path}: a recipe of kind {recipe.kind} makes no use of {', '.join(idle)}; remove it")
    if recipe.patience and recipe.folds < FEWEST_FOLDS:
        raise CriticalError(
            f"{path}: patience takes {FEWEST_FOLDS} folds, to learn from, to choose the epoch by, to judge on; there are "
            f"{recipe.folds}"
        )
    if bool(recipe.backbone) != (recipe.kind != "scratch"):
        raise CriticalError(f"{path}: kind {recipe.kind} goes {'with' if recipe.kind != 'scratch' else 'without'} a backbone")
    return recipe


def on_backbone(recipe: Recipe, backbone: str) -> Recipe:
    """The recipe on another backbone, named so; CriticalError for a recipe that has none, or names layers of it."""
    if recipe.kind == "scratch":
        raise CriticalError(f"recipe {recipe.name!r} trains a network of its own: it has no backbone to replace")
    named = [*recipe.layers, *([recipe.tune_from] if isinstance(recipe.tune_from, str) and recipe.tune_from else [])]
    if named and backbone != recipe.backbone:
        raise CriticalError(
            f"recipe {recipe.name!r} names layers of {recipe.backbone} ({', '.join(named)}): copy the recipe and name such of "
            f"{backbone}"
        )
    return replace(recipe, name=f"{recipe.name}:{backbone}", backbone=backbone)

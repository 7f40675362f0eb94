"""Which pictures the collection holds: kinds with their concepts, series of views, and the two sides of the split."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from pipeline.sandbox.builtin.canvas import Plate, Rng
from pipeline.sandbox.builtin.media import drawing, painting, photograph, poster
from pipeline.sandbox.builtin.objects import ceramics, coin
from pipeline.sandbox.builtin.scenes import building, country_house, landscape, outing, portrait
from pipeline.sandbox.builtin.surfaces import chart, inscription, manuscript, textile

TEST_SHARE = 0.297
TRIES = 6000  # exchanges between the two sides of the split
UPRIGHT = (0.68, 0.9)
ANY = (0.72, 1.42)
COMPACT = (0.8, 1.15)

Scene = Callable[[Rng, float], Plate]
Medium = Callable[[Rng, Plate], Plate]


@dataclass(frozen=True)
class Kind:
    """One sort of picture: how often it comes (in 720), what is true of it, and how it is drawn."""

    name: str
    weight: int
    concepts: tuple[str, ...]
    draw: Callable[[Rng], Plate]
    not_annotated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Series:
    """One work with its one to three pictures, all on the same side of the split."""

    number: int
    kind: Kind
    views: int
    split: str


def _of(scene: Scene, widths: tuple[float, float], medium: Medium | None = None) -> Callable[[Rng], Plate]:
    def draw(rng: Rng) -> Plate:
        plate = scene(rng, float(rng.uniform(*widths)))
        return medium(rng, plate) if medium else plate

    return draw


def _poster_of(scene: Scene | None) -> Callable[[Rng], Plate]:
    def draw(rng: Rng) -> Plate:
        width = float(rng.uniform(0.64, 0.82))
        return poster(rng, scene(rng, width) if scene else None, width)

    return draw


def _miniature(scene: Scene, widths: tuple[float, float]) -> Callable[[Rng], Plate]:
    def draw(rng: Rng) -> Plate:
        picture = painting(rng, scene(rng, float(rng.uniform(*widths))), frame=False)
        return manuscript(rng, float(rng.uniform(0.68, 0.8)), picture)

    return draw


def _profile_coin(rng: Rng) -> Plate:
    return coin(rng, float(rng.uniform(*COMPACT)), head=True)


def _spare_chart(rng: Rng, width: float) -> Plate:
    return chart(rng, width, spare=True)


def _figured(rng: Rng) -> Plate:
    return ceramics(rng, float(rng.uniform(0.78, 1.0)), painted_people=True)


KINDS = (
    Kind("coin", 62, ("coin",), _of(coin, ANY)),
    # Nobody has said whether a struck profile is a portrait.
    Kind("coin-head", 8, ("coin",), _profile_coin, ("portrait", "people")),
    Kind("coin-drawing", 8, ("coin", "drawing"), _of(coin, COMPACT, drawing)),
    Kind("coin-photograph", 8, ("coin", "photograph"), _of(coin, ANY, photograph)),
    Kind("textile", 78, ("textile",), _of(textile, ANY)),
    Kind("textile-photograph", 8, ("textile", "photograph"), _of(textile, ANY, photograph)),
    Kind("inscription", 72, ("inscription",), _of(inscription, ANY)),
    Kind("inscription-photograph", 14, ("inscription", "photograph"), _of(inscription, ANY, photograph)),
    Kind("ceramics", 34, ("ceramics",), _of(ceramics, COMPACT)),
    Kind("ceramics-people", 18, ("ceramics", "people"), _figured),
    Kind("ceramics-photograph", 10, ("ceramics", "photograph"), _of(ceramics, COMPACT, photograph)),
    Kind("ceramics-drawing", 14, ("ceramics", "drawing"), _of(ceramics, COMPACT, drawing)),
    Kind("ceramics-poster", 10, ("ceramics", "poster"), _poster_of(ceramics)),
    Kind("map-poster", 14, ("map", "poster"), _poster_of(_spare_chart)),
    Kind("map", 58, ("map",), _of(chart, ANY)),
    Kind("map-drawing", 14, ("map", "drawing"), _of(_spare_chart, ANY, drawing)),
    Kind("manuscript", 58, ("manuscript",), _of(manuscript, UPRIGHT)),
    Kind("miniature-portrait", 14, ("manuscript", "painting", "portrait", "people"), _miniature(portrait, (0.8, 1.0))),
    Kind("miniature-landscape", 14, ("manuscript", "painting", "landscape"), _miniature(landscape, (1.0, 1.3))),
    Kind("painting-portrait", 22, ("painting", "portrait", "people"), _of(portrait, UPRIGHT, painting)),
    Kind("drawing-portrait", 18, ("drawing", "portrait", "people"), _of(portrait, UPRIGHT, drawing)),
    Kind("photograph-portrait", 12, ("photograph", "portrait", "people"), _of(portrait, UPRIGHT, photograph)),
    Kind("poster-portrait", 20, ("poster", "portrait", "people"), _poster_of(portrait)),
    Kind("poster-people", 4, ("poster", "people", "landscape"), _poster_of(outing)),
    Kind("poster", 6, ("poster",), _poster_of(None)),
    Kind("poster-landscape", 5, ("poster", "landscape"), _poster_of(landscape)),
    Kind("painting-landscape", 7, ("painting", "landscape"), _of(landscape, ANY, painting)),
    Kind("painting-people", 8, ("painting", "people", "landscape"), _of(outing, ANY, painting)),
    Kind("drawing-people", 4, ("drawing", "people", "landscape"), _of(outing, ANY, drawing)),
    Kind("drawing-landscape", 6, ("drawing", "landscape"), _of(landscape, ANY, drawing)),
    Kind("photograph-people", 6, ("photograph", "people", "landscape"), _of(outing, ANY, photograph)),
    Kind("photograph-house", 6, ("photograph", "building", "landscape"), _of(country_house, ANY, photograph)),
    Kind("painting-house", 10, ("painting", "building", "landscape"), _of(country_house, ANY, painting)),
    Kind("drawing-house", 10, ("drawing", "building", "landscape"), _of(country_house, ANY, drawing)),
    Kind("poster-house", 10, ("poster", "building", "landscape"), _poster_of(country_house)),
    Kind("poster-building", 17, ("poster", "building"), _poster_of(building)),
    Kind("painting-building", 11, ("painting", "building"), _of(building, ANY, painting)),
    Kind("drawing-building", 12, ("drawing", "building"), _of(building, ANY, drawing)),
    Kind("photograph-building", 10, ("photograph", "building"), _of(building, ANY, photograph)),
)


def counts(pictures: int) -> list[int]:
    """How many pictures of each kind; the fractions that rounding leaves go to the largest first."""
    total = sum(kind.weight for kind in KINDS)
    exact = [pictures * kind.weight / total for kind in KINDS]
    whole = [int(share) for share in exact]
    by_rest = sorted(range(len(KINDS)), key=lambda place: whole[place] - exact[place])
    for place in by_rest[: pictures - sum(whole)]:
        whole[place] += 1
    return whole


def series(pictures: int, seed: int) -> list[Series]:
    """All works, about 70 % of the pictures of every concept and kind on the `train` side."""
    rng = np.random.default_rng([seed, 0])
    works: list[tuple[Kind, int]] = []
    for kind, left in zip(KINDS, counts(pictures), strict=True):
        while left:
            views = min(left, int(rng.choice([1, 2, 3], p=[0.72, 0.2, 0.08])))
            left -= views
            works.append((kind, views))
    sides = _divided(rng, works)
    return [Series(place, kind, views, sides[place]) for place, (kind, views) in enumerate(works)]


def _divided(rng: Rng, works: list[tuple[Kind, int]]) -> list[str]:
    """The side of each work. A picture has several concepts, so no order of drawing lots keeps all shares right:
    start at random and make those exchanges that bring the shares nearer to what they should be.
    """
    concepts = sorted({concept for kind in KINDS for concept in kind.concepts})
    # The share within a kind counts too, but less than that of a concept.
    share = np.zeros((len(works), len(concepts) + len(KINDS)))
    for place, (kind, views) in enumerate(works):
        share[place, [concepts.index(concept) for concept in kind.concepts]] = views
        share[place, len(concepts) + KINDS.index(kind)] = views * 0.4
    wanted = share.sum(axis=0) * TEST_SHARE
    tested = rng.random(len(works)) < TEST_SHARE
    off = share[tested].sum(axis=0) - wanted
    for _ in range(TRIES):
        # One work alone or two at once: two can change places where neither may move alone.
        moved = np.unique(rng.integers(len(works), size=int(rng.integers(1, 3))))
        then = off + np.where(tested[moved], -1, 1) @ share[moved]
        if then @ then < off @ off:
            off = then
            tested[moved] = ~tested[moved]
    return ["test" if side else "train" for side in tested]

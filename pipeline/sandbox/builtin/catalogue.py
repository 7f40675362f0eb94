"""The words around a picture: providers, identifiers, titles, makers, years and rights, as a catalogue has them."""

from dataclasses import dataclass

import numpy as np

from pipeline.sandbox.builtin.canvas import Rng, pick

COLUMNS = ("record_id", "image_file", "title", "creator", "year", "provider", "data_provider", "rights", "concepts",
           "split", "not_annotated", "group")  # fmt: skip

# Name → data set number and share; uneven on purpose, so that a report by provider has something to show.
PROVIDERS = {
    "City Museum": ("2026001", 0.35),
    "National Collections": ("2026002", 0.22),
    "Regional Archive": ("2026003", 0.15),
    "University Collections": ("2026004", 0.12),
    "Harbour Museum": ("2026005", 0.09),
    "Village Heritage Society": ("2026006", 0.07),
    "scikit-image": ("2026007", 0.0),
    "scikit-learn": ("2026008", 0.0),
}
RIGHTS = {
    "http://creativecommons.org/publicdomain/mark/1.0/": 30,
    "http://creativecommons.org/publicdomain/zero/1.0/": 26,
    "http://creativecommons.org/licenses/by/4.0/": 10,
    "http://creativecommons.org/licenses/by-sa/4.0/": 10,
    "http://creativecommons.org/licenses/by-nc/4.0/": 3,
    "http://creativecommons.org/licenses/by-nc-sa/4.0/": 3,
    "http://creativecommons.org/licenses/by-nc-nd/4.0/": 2,
    "http://creativecommons.org/licenses/by-nd/4.0/": 2,
    "http://rightsstatements.org/vocab/NoC-NC/1.0/": 2,
    "http://rightsstatements.org/vocab/NoC-OKLR/1.0/": 2,
    "http://rightsstatements.org/vocab/InC-EDU/1.0/": 2,
    "http://rightsstatements.org/vocab/InC/1.0/": 5,
    "http://rightsstatements.org/vocab/InC-OW-EU/1.0/": 1,
    "http://rightsstatements.org/vocab/CNE/1.0/": 2,
}
# First word of the kind → department, years, makers; the maker is empty where a catalogue would leave it so.
MATTERS: dict[str, tuple[str, tuple[int, int], tuple[str, ...]]] = {
    "coin": ("Coins and Medals", (-120, 1870), ("", "", "Unknown mint")),
    "textile": ("Textiles", (1650, 1930), ("", "Unknown", "Weaving workshop")),
    "inscription": ("Stone Collection", (-80, 420), ("", "", "Unknown")),
    "ceramics": ("Ceramics", (1550, 1910), ("", "Unknown", "Pottery workshop")),
    "map": ("Maps", (1580, 1890), ("", "Unknown", "Survey office", "Workshop of a map engraver")),
    "manuscript": ("Manuscripts", (1380, 1880), ("", "Unknown", "Unknown scribe")),
    "miniature": ("Manuscripts", (1380, 1540), ("Unknown illuminator", "Workshop of an illuminator", "")),
    "painting": ("Paintings", (1600, 1910), ("Unknown", "Local school", "Workshop of a court painter", "")),
    "drawing": ("Prints and Drawings", (1580, 1920), ("Unknown", "Unknown draughtsman", "Drawing school", "")),
    "photograph": ("Photographs", (1855, 1965), ("Unknown photographer", "Photographic studio", "")),
    "poster": ("Posters", (1890, 1960), ("", "Unknown designer", "Lithographic printing works")),
}
# What a title says outweighs what its kind allows.
DATED = (
    ("poster", (1890, 1960)),
    ("colour print", (1936, 1979)),
    ("silver print", (1885, 1965)),
    ("cyanotype", (1845, 1910)),
    ("albumen", (1855, 1895)),
    ("pencil", (1680, 1920)),
    ("chalk", (1620, 1880)),
    ("pen and", (1580, 1900)),
    ("red-figure", (-510, -400)),
    ("black-figure", (-600, -480)),
)
VIEWS = ("", ", second view", ", third view")


@dataclass(frozen=True)
class Entry:
    """What the pictures of one work share in the catalogue."""

    title: str
    creator: str
    year: str
    provider: str
    data_provider: str
    rights: str


def entry(rng: Rng, kind: str, title: str) -> Entry:
    """A catalogue entry for a work of this kind with this title."""
    matter = kind.rsplit("-", 1)[-1] if kind.endswith(("-poster", "-drawing", "-photograph")) else kind.split("-")[0]
    department, years, makers = MATTERS[matter]
    years = next((span for word, span in DATED if word in title), years)
    year = "" if rng.random() < 0.15 else str(int(rng.integers(*years)) or 1)
    provider = _weighted(rng, {name: share for name, (_, share) in PROVIDERS.items()})
    data_provider = f"{provider}, {department}" if rng.random() < 0.8 else provider
    return Entry(title, pick(rng, makers), year, provider, data_provider, _weighted(rng, RIGHTS))


def record_id(provider: str, number: int) -> str:
    """A record identifier that tells the provider's data set and nothing about the picture."""
    return f"/{PROVIDERS[provider][0]}/object_{number:05d}"


def _weighted(rng: Rng, shares: "dict[str, float] | dict[str, int]") -> str:
    weights = np.array(list(shares.values()), dtype=np.float64)
    return list(shares)[int(rng.choice(len(weights), p=weights / weights.sum()))]

"""A running sandbox over a small collection made for the test run."""

import csv
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.sandbox import SandboxOptions
from pipeline.sandbox.process import SandboxProcess, free_port

_OPEN = "http://creativecommons.org/publicdomain/zero/1.0/"
_CLOSED = "http://rightsstatements.org/vocab/InC/1.0/"
_VOCABULARY = """
concepts:
  - slug: painting
    kind: type
    labels: {en: Painting, nl: Schilderij}
    europeana: http://data.europeana.eu/concept/47
    wikidata: http://www.wikidata.org/entity/Q11629
    aat: http://vocab.getty.edu/aat/300033618
  - slug: map
    kind: type
    labels: {en: Map}
    europeana: http://data.europeana.eu/concept/43
    aat: http://vocab.getty.edu/aat/300028094
    broader: [painting]
  - slug: house-style
    kind: subject
    labels: {en: House style}
"""


def write_collection(folder: Path) -> None:
    """Twelve records: nine good pictures, one cut-off, one HTML page under a picture's name, one without picture."""
    folder.mkdir(parents=True)
    rows = []
    for number in range(12):
        name = f"pictures/painting/p{number}.jpg"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if number < 9:
            Image.new("RGB", (600 + 100 * number, 500), (20 * number, 80, 120)).save(path)
        elif number == 9:
            Image.effect_noise((400, 300), 80).convert("RGB").save(path)
            path.write_bytes(path.read_bytes()[:5000])
        elif number == 10:
            path.write_text("<!DOCTYPE html><html><body>Sign in</body></html>")
        rows.append(
            {
                "record_id": f"/90402/SK_{number:02d}",
                "image_file": "" if number == 11 else name,
                "title": f"Nachtwacht número {number}",
                "creator": "Jane Engraver" if number % 2 else "",
                "year": str(1640 + number) if number % 3 else "",
                "provider": "Aggregator",
                "data_provider": "Rijksmuseum" if number < 6 else "City Archive",
                "rights": _OPEN if number < 8 else _CLOSED,
                "concepts": "painting;secret-truth",
                "not_annotated": "secret-unknown",
                "group": "secret-group",
                "split": "test",
            }
        )
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def sandbox_options(tmp_path_factory: pytest.TempPathFactory) -> SandboxOptions:
    """Options over the small collection; copies of them start further sandboxes."""
    folder = tmp_path_factory.mktemp("sandbox")
    write_collection(folder / "collection")
    (folder / "concepts.yaml").write_text(_VOCABULARY)
    return SandboxOptions(
        collection=folder / "collection",
        state_dir=folder / "state",
        vocabulary_path=folder / "concepts.yaml",
        port=free_port(),
    )


@pytest.fixture(scope="module")
def sandbox(sandbox_options: SandboxOptions) -> Iterator[SandboxProcess]:
    """One sandbox for all tests; each test writes under records or names of its own."""
    running = SandboxProcess(sandbox_options)
    yield running
    assert running.stop() == 0


@pytest.fixture
def start_sandbox(sandbox_options: SandboxOptions, tmp_path: Path) -> Iterator[Callable[..., SandboxProcess]]:
    """Start a further sandbox with changed options and a state of its own."""
    running: list[SandboxProcess] = []

    def start(**changes: Any) -> SandboxProcess:
        options = replace(sandbox_options, **{"port": free_port(), "state_dir": tmp_path / "state", **changes})
        running.append(SandboxProcess(options))
        return running[-1]

    yield start
    for one in running:
        one.stop(signal.SIGKILL)

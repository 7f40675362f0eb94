"""What the gates found, as JSON and as a page beside the run: `runs/run=<id>/quality/`."""

from typing import Any

from pipeline.datasets.lake import Lake
from pipeline.datasets.run import Run
from pipeline.reporting.page import environment

FOLDER, PAGE = "quality", "index.html"


def write_checked(lake: Lake, run: Run, checked: dict[str, Any]) -> str:
    """Keep a dataset's results, make the page of all datasets anew, and return the page's key."""
    lake.write_json(f"{run.folder}/{FOLDER}/{checked['dataset']}.json", checked)
    page = f"{run.folder}/{FOLDER}/{PAGE}"
    lake.store.put_bytes(page, quality_page(run, read_checked(lake, run)).encode())
    return page


def read_checked(lake: Lake, run: Run) -> list[dict[str, Any]]:
    """The results of all datasets that were checked."""
    return [lake.read_json(key) for key in lake.store.list(f"{run.folder}/{FOLDER}/") if key.endswith(".json")]


def quality_page(run: Run, checked: list[dict[str, Any]]) -> str:
    """Every expectation, whether it holds, and what was seen where it does not."""
    return environment().get_template("quality.html").render(run=run, checked=checked)

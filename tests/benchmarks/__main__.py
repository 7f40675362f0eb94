"""`make bench`: run benchmarks and write `var/bench/<name>.json`; without a name, all of them.

A benchmark is a module of this package with a function `measure(full: bool) -> list[Figure]`. Ratios are taken against
a named peer in the same call, alternating, as the median of three; `--full` may take longer than ten minutes.
"""

import argparse
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.benchmarks.figure import Figure

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
NAMES = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in ("__init__", "__main__", "figure"))


def main() -> int:
    """Run what was asked for; 1 when a figure misses its goal."""
    parser = argparse.ArgumentParser(prog="make bench", description="Benchmarks: " + ", ".join(NAMES))
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], help="which ones; all without a name")
    parser.add_argument("--full", action="store_true", help="the long form")
    arguments = parser.parse_args()
    failed = False
    for name in arguments.names or NAMES:
        figures = importlib.import_module(f"tests.benchmarks.{name}").measure(full=arguments.full)
        _write(name, figures)
        failed |= any(figure.passed is False for figure in figures)
    return int(failed)


def _write(name: str, figures: list[Figure]) -> None:
    folder = ROOT / "var" / "bench"
    folder.mkdir(parents=True, exist_ok=True)
    value = {
        "name": name,
        "commit": subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True).stdout.strip(),
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "figures": {
            figure.key: {
                "value": figure.value,
                "unit": figure.unit,
                "goal": figure.goal,
                "pass": figure.passed,
                "runs": figure.runs,
            }
            for figure in figures
        },
    }
    (folder / f"{name}.json").write_text(json.dumps(value, indent=1))
    table = Table("figure", "value", "unit", "goal", "runs", title=name)
    for figure in figures:
        runs = ", ".join(f"{run:g}" for run in figure.runs)
        table.add_row(figure.key, f"{statistics.median(figure.runs):g}", figure.unit, figure.goal or "–", runs)
    Console().print(table)


sys.exit(main())

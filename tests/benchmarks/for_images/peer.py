"""The peer, img2dataset, in an environment of its own: the same addresses to resized JPEGs with their SHA-256."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.settings import PROJECT_ROOT
from tests.benchmarks.for_images.places import ENVIRONMENTS
from tests.benchmarks.for_images.watch import Watched, run_watched

REQUIREMENT = "img2dataset==1.47.0"
PROCESSES, THREADS = 2, 32
QUALITY = 90  # ours


def install_peer() -> Path:
    """The peer's program, installed if it is not there; SystemExit when that fails."""
    folder = ENVIRONMENTS / "img2dataset"
    mark, program = folder / "complete", folder / "bin" / "img2dataset"
    if mark.exists() and mark.read_text() == REQUIREMENT:
        return program
    uv = shutil.which("uv", path=os.pathsep.join((str(PROJECT_ROOT / ".venv-bootstrap" / "bin"), os.environ["PATH"])))
    if uv is None:
        raise SystemExit(f"The benchmark of the images installs {REQUIREMENT} with uv: make setup")
    print(f"installing {REQUIREMENT} into {folder.relative_to(PROJECT_ROOT)}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    install = [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", folder / "bin" / "python", REQUIREMENT]
    for command in ([uv, "venv", "--quiet", "--python", sys.executable, folder], install):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"The benchmark of the images needs {REQUIREMENT}, which cannot be installed:\n{done.stderr}")
    mark.write_text(REQUIREMENT)
    return program


def run_peer(program: Path, folder: Path, urls: Sequence[str], *, side_px: int) -> Watched:
    """Fetch and resize them all into `folder`, which is thrown away; all pictures must come out well."""
    folder.mkdir(parents=True)
    addresses, output = folder / "addresses.txt", folder / "output"
    addresses.write_text("\n".join(urls))
    options = {
        "url_list": addresses,
        "input_format": "txt",
        "output_folder": output,
        "output_format": "files",
        "resize_mode": "keep_ratio_largest",  # bounds the long side, as ours does
        "image_size": side_px,
        "encode_quality": QUALITY,
        "processes_count": PROCESSES,
        "thread_count": THREADS,
        # A shard is one process' work: with the usual 10,000 the others would have none, and with more shards it is slower.
        "number_sample_per_shard": -(-len(urls) // PROCESSES),
        "compute_hash": "sha256",
        "enable_wandb": False,
    }
    command = [str(program), *(f"--{name}={value}" for name, value in options.items())]
    watched = run_watched(command, environment={**os.environ, "NO_ALBUMENTATIONS_UPDATE": "1"}, log=folder / "log")
    well = sum(json.loads(path.read_text())["successes"] for path in output.glob("*_stats.json"))
    if well != len(urls):
        raise RuntimeError(f"{len(urls)} pictures were to come out well, img2dataset has {well}")
    shutil.rmtree(folder)
    return watched

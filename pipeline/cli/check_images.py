"""`enrich images check`: the pipeline's own verdict on local files."""

import hashlib
import json
import resource
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.imaging.inspect import Limits, inspect_image
from pipeline.settings import Settings


def check_images(paths: Sequence[Path], *, jsonl: bool, settings: Settings) -> None:
    """Print a line a file: path, outcome, reason, type, size, seconds, peak memory of the process so far."""
    seen: dict[str, str] = {}
    for path in _files(paths):
        verdict = _verdict(path, seen, settings)
        if jsonl:
            print(json.dumps(verdict), flush=True)
        else:
            print(f"{verdict['path']}: {verdict['outcome']} {verdict['reason'] or ''} {verdict['detail']}".rstrip(), flush=True)


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _verdict(path: Path, seen: dict[str, str], settings: Settings) -> dict[str, Any]:
    started = time.monotonic()
    facts: dict[str, Any] = {"path": str(path), "warnings": [], "mime": None, "width_px": None, "height_px": None}
    try:
        too_large = path.stat().st_size > settings.image_max_bytes
        content = b"" if too_large else path.read_bytes()
    except OSError as error:
        return facts | {
            "outcome": "failed",
            "reason": "unparseable",
            "detail": str(error),
            "sha256": None,
            "duplicate_of": None,
        }
    if too_large:
        verdict: dict[str, Any] = {
            "outcome": "rejected",
            "reason": "too_large",
            "detail": f"> {settings.image_max_bytes} bytes",
        }
        digest = None
    else:
        limits = Limits(settings.image_min_side_px, settings.image_max_pixels, settings.image_max_aspect)
        found = inspect_image(content, limits, target_side_px=settings.derivative_side_px)
        digest = hashlib.sha256(content).hexdigest()
        verdict = {"outcome": found.outcome, "reason": found.reason, "detail": found.detail}
        facts |= {"mime": found.mime, "width_px": found.width_px, "height_px": found.height_px}
    first = seen.setdefault(digest, str(path)) if digest else str(path)
    return {
        **facts,
        **verdict,
        "seconds": round(time.monotonic() - started, 4),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "sha256": digest,
        "duplicate_of": first if first != str(path) else None,
    }

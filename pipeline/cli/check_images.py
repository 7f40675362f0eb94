"""`enrich images check`: the pipeline's own verdict on local files."""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipeline.domain.identifiers import image_id
from pipeline.domain.outcome import Outcome, Reason
from pipeline.imaging import worker
from pipeline.imaging.examine import Examiner, rules_of
from pipeline.imaging.placeholders import ImagesToRemove, load_images_to_remove
from pipeline.settings import Settings

_NOTHING: dict[str, Any] = {
    "warnings": [],
    "mime": None,
    "width_px": None,
    "height_px": None,
    "sha256": None,
    "duplicate_of": None,
}


def check_images(paths: Sequence[Path], *, jsonl: bool, settings: Settings) -> None:
    """Print a line a file: path, outcome, reason, type, size, seconds, peak memory of the process that decoded it in MB."""
    rules = rules_of(settings)
    to_remove = load_images_to_remove(settings.images_to_remove_dir, rules)
    seen: dict[str, str] = {}
    counts: Counter[str] = Counter()
    with Examiner(rules) as examiner:
        for path in _files(paths):
            verdict = _verdict(path, seen, examiner, to_remove, settings)
            counts[verdict["reason"] or "ok"] += 1
            if jsonl:
                print(json.dumps(verdict, ensure_ascii=False), flush=True)
            else:
                size = f"{verdict['width_px']}×{verdict['height_px']} {verdict['mime']}" if verdict["mime"] else ""
                words = (f"{verdict['path']}: {verdict['outcome']}", verdict["reason"], size, verdict["detail"])
                print("  ".join(word for word in words if word), flush=True)
    if not jsonl:
        print(
            f"{counts.total()} files: " + ", ".join(f"{count} {reason}" for reason, count in counts.most_common()),
            file=sys.stderr,
        )


def _files(paths: Sequence[Path]) -> Iterator[Path]:
    for path in paths:
        yield from sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def _verdict(
    path: Path, seen: dict[str, str], examiner: Examiner, to_remove: ImagesToRemove, settings: Settings
) -> dict[str, Any]:
    started = time.monotonic()
    facts: dict[str, Any] = {"path": str(path), **_NOTHING}
    try:
        if path.stat().st_size > settings.image_max_bytes:
            detail = f"more than {settings.image_max_bytes} bytes"
            return _timed(facts | _refused(Outcome.REJECTED, Reason.TOO_LARGE, detail), started)
        content = path.read_bytes()
    except OSError as error:
        return _timed(facts | _refused(Outcome.FAILED, Reason.UNPARSEABLE, str(error)), started)
    found, digest = examiner.examine(content), image_id(content)
    facts |= {"mime": found.mime, "width_px": found.width_px, "height_px": found.height_px, "sha256": digest}
    verdict = {"outcome": str(found.outcome), "reason": found.reason and str(found.reason), "detail": found.detail}
    if found.outcome is Outcome.OK and (why := to_remove.match(digest, found)):
        verdict = _refused(Outcome.REJECTED, Reason.PLACEHOLDER, why)
    first = seen.setdefault(digest, str(path))
    return _timed(facts | verdict | {"duplicate_of": first if first != str(path) else None}, started, found.peak_mb)


def _refused(outcome: Outcome, reason: Reason, detail: str) -> dict[str, Any]:
    return {"outcome": str(outcome), "reason": str(reason), "detail": detail}


def _timed(verdict: dict[str, Any], started: float, peak_mb: float = 0.0) -> dict[str, Any]:
    """The peak is that of the bounded process where one decoded the file, else this one's so far."""
    return verdict | {"seconds": round(time.monotonic() - started, 4), "peak_mb": round(peak_mb or worker.peak_mb(), 1)}

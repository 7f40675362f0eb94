"""What the form of the DAG `import_feedback` asks for. The steps hand on plain values: numbers and texts."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog

from pipeline.errors import CriticalError
from pipeline.feedback.proposal import propose
from pipeline.feedback.steps import Wish, import_feedback, look_at
from pipeline.settings import Settings

log = structlog.get_logger()


def wish_of_form(form: Mapping[str, Any]) -> Wish:
    """The import that the form asks for; CriticalError when it names no file."""
    path = (form["file"] or "").strip()
    if not path:
        raise CriticalError("file: say which export is to be read; the workers must be able to")
    labels = (form["labels"] or "").strip()
    return Wish(
        Path(path),
        form["kind"],
        form["accept"],
        (form["campaign"] or "").strip(),
        Path(labels) if labels else None,
        form["min_votes"],
    )


def import_from_form(*, form: Mapping[str, Any], now: datetime, settings: Settings) -> dict[str, Any]:
    """Read the export and put it into the lake: {run_key, figures}. A dry run only reads, and its key is empty."""
    wish = wish_of_form(form)
    if form["dry_run"]:
        said, figures = look_at(wish, settings=settings)
        log.info("feedback_read", **figures, problems=list(said.problems[:10]), notes=list(said.notes))
        return {"run_key": "", "figures": figures}
    imported = import_feedback(wish, settings=settings, now=now)
    log.info("feedback_imported", run=imported.run_key, new=imported.is_new, verdicts=imported.report["verdicts"])
    return {"run_key": imported.run_key, "figures": dict(imported.report["figures"])}


def propose_thresholds(*, run_id: str, settings: Settings) -> str:
    """Write a proposal below VAR_DIR/feedback and its changes into the log; returns the file. Nothing is applied."""
    proposal = propose(settings=settings)
    folder = settings.var_dir / "feedback"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"thresholds-{''.join(letter if letter.isalnum() else '-' for letter in run_id)}.json"
    file.write_text(json.dumps(proposal, indent=1) + "\n", encoding="utf-8")
    for one in proposal["concepts"]:
        if one["before"] != one["after"]:
            log.info(
                "threshold_proposed", **{name: one[name] for name in ("concept", "decided", "right", "before", "after", "why")}
            )
    log.info("proposal_written", file=str(file), next=f"enrich feedback apply {file}")
    return str(file)

"""A run from the values of a form: what DAGs hand over."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

import structlog

from pipeline.datasets.lake import open_lake
from pipeline.domain.harvest_rules import HarvestRules
from pipeline.domain.scope import Scope, Selection
from pipeline.errors import CriticalError
from pipeline.harvest.estimate import estimate_run
from pipeline.harvest.id_list import bare_id
from pipeline.harvest.sources import FREE, find_source
from pipeline.harvest.steps import start_run
from pipeline.settings import Settings

log = structlog.get_logger()


def start_from_form(*, form: Mapping[str, Any], run_id: str, created_at: datetime, settings: Settings) -> str:
    """Start a run and return its key; CriticalError that names the field that is wrong or missing."""
    name = form.get("source") or ""
    if name:
        source = find_source(settings.sources_dir, name)
        selection, rules = source.selection, source.rules
    else:
        name = "collection"
        selection, rules = _free(form)
    said = {field: form[field] for field in ("max_records", "max_requests", "max_hours") if form.get(field) is not None}
    return start_run(
        run_id=run_id,
        source=name,
        selection=selection,
        rules=replace(rules, limits=replace(rules.limits, **said)),
        scope=_scope(form),
        created_at=created_at,
        settings=settings,
        dry_run=bool(form.get("dry_run")),
        again=bool(form.get("again")),
    )


def log_estimate(*, run_key: str, settings: Settings) -> None:
    """Write into the log what the run would take."""
    log.info("estimate", **estimate_run(open_lake(settings).run(run_key), settings=settings).to_json())


def _free(form: Mapping[str, Any]) -> tuple[Selection, HarvestRules]:
    service, kind = FREE[form["kind"]]
    value = (form.get("value") or "").strip()
    if not value and form.get("ids") and service == "europeana":
        kind, value = "query", "*:*"  # ids name their records completely
    if not value:
        raise CriticalError(f"value: say which {form['kind'].replace('_', ' ')}, or choose a source, or list ids")
    return Selection(kind, value), HarvestRules(service=service)


def _scope(form: Mapping[str, Any]) -> Scope:
    ids, since, until = tuple(map(bare_id, form.get("ids") or ())), _time(form, "since"), _time(form, "until")
    if ids and (since or until):
        raise CriticalError("ids and since/until: say one of them, not both")
    if ids:
        return Scope("ids", ids=ids)
    if since or until:
        return Scope("window", start=since, end=until)
    return Scope("full")


def _time(form: Mapping[str, Any], name: str) -> datetime | None:
    value = form.get(name)
    if value is None or isinstance(value, datetime):
        return value
    try:
        return datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError as error:
        raise CriticalError(f"{name}: {value!r} is no time such as 2026-01-01T00:00:00Z") from error

"""Check a stage's parts before they become visible; a failed check stops the run with one line that says why."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.datasets.lake import Lake, Part
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import SCHEMAS
from pipeline.datasets.stage import Counts
from pipeline.domain.label import Decision
from pipeline.domain.outcome import Outcome, Reason
from pipeline.errors import CriticalError, PoisonedResultError
from pipeline.settings import Settings

# A link that is gone or a picture that is too small is one record's matter; these are a network's, a host's or ours.
FAULTS = (
    Reason.HTTP_4XX,
    Reason.HTTP_5XX,
    Reason.TIMEOUT,
    Reason.CONNECTION,
    Reason.SSRF_REFUSED,
    Reason.NOT_AN_IMAGE,
)

Rule = tuple[str, dict[str, Any]]

# What says something only about many rows: a model that gives the same score for everything is broken.
SPREAD: dict[str, list[Rule]] = {"labels": [("ExpectColumnStdevToBeBetween", {"column": "score", "min_value": 1e-6})]}
FEWEST_FOR_SPREAD = 2
ROWS_CHECKED_AT_ONCE = 50_000

# What must hold for every part, by dataset: (expectation, its arguments). Required columns are the schema's matter.
RULES: dict[str, list[Rule]] = {
    "records": [
        ("ExpectColumnValuesToMatchRegex", {"column": "record_id", "regex": r"^/[^/\s]+/[^/\s]+$"}),
        ("ExpectColumnValuesToBeUnique", {"column": "record_id"}),
        ("ExpectColumnValuesToBeBetween", {"column": "year", "min_value": -9999, "max_value": 9999}),
        (
            "ExpectColumnValuesToBeInSet",
            {"column": "rights_category", "value_set": ["open", "restricted", "permission", "unknown"]},
        ),
    ],
    "images": [
        ("ExpectCompoundColumnsToBeUnique", {"column_list": ["record_id", "image_url"]}),
        ("ExpectColumnValuesToBeInSet", {"column": "outcome", "value_set": [str(outcome) for outcome in Outcome]}),
        ("ExpectColumnValuesToBeInSet", {"column": "reason", "value_set": [str(reason) for reason in Reason]}),
        ("ExpectColumnValuesToMatchRegex", {"column": "image_id", "regex": "^[0-9a-f]{64}$"}),
        ("ExpectColumnValuesToBeBetween", {"column": "width_px", "min_value": 1}),
        ("ExpectColumnValuesToBeBetween", {"column": "height_px", "min_value": 1}),
    ],
    "link_checks": [
        ("ExpectCompoundColumnsToBeUnique", {"column_list": ["record_id", "image_url"]}),
        ("ExpectColumnValuesToBeInSet", {"column": "reason", "value_set": [str(reason) for reason in Reason]}),
    ],
    "labels": [
        ("ExpectCompoundColumnsToBeUnique", {"column_list": ["record_id", "image_id", "concept_uri"]}),
        ("ExpectColumnValuesToBeBetween", {"column": "score", "min_value": 0, "max_value": 1}),
        ("ExpectColumnValuesToBeBetween", {"column": "raw_score", "min_value": 0, "max_value": 1}),
        ("ExpectColumnValuesToBeInSet", {"column": "decision", "value_set": [str(decision) for decision in Decision]}),
    ],
    "record_labels": [
        ("ExpectCompoundColumnsToBeUnique", {"column_list": ["record_id", "concept_uri", "label"]}),
        ("ExpectColumnValuesToBeBetween", {"column": "max_score", "min_value": 0, "max_value": 1}),
        ("ExpectColumnValuesToBeInSet", {"column": "decision", "value_set": [str(decision) for decision in Decision]}),
    ],
    "suggestions": [
        ("ExpectCompoundColumnsToBeUnique", {"column_list": ["record_id", "related_record_id"]}),
        ("ExpectColumnValuesToBeBetween", {"column": "score", "min_value": 0, "max_value": 1.0001}),
        ("ExpectColumnValuesToBeBetween", {"column": "rank", "min_value": 1}),
    ],
}


def check_parts(lake: Lake, run: Run, dataset: str, parts: Sequence[Part]) -> dict[str, Any]:
    """Run the dataset's rules on every part and return what was checked.

    Raises PoisonedResultError that names the first part and every rule that it breaks: nothing of the run is published.
    """
    checked = 0
    for group in _groups(parts):
        if broken := _broken_rules(lake, dataset, group):
            where = group[0].key if len(group) == 1 else f"{group[0].key} to {group[-1].key.rpartition('/')[2]}"
            raise PoisonedResultError(f"run {run.run_id} is blocked: {dataset} part {where}: " + "; ".join(broken))
        checked += sum(part.rows for part in group)
    return {"dataset": dataset, "rows": checked, "rules": len(RULES[dataset]), "passed": True}


def _groups(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Small parts are checked together, for each check has a price of its own; never so many that memory would grow."""
    group: list[Part] = []
    for part in parts:
        if group and sum(one.rows for one in group) + part.rows > ROWS_CHECKED_AT_ONCE:
            yield group
            group = []
        group.append(part)
    if group:
        yield group


def check_failures(stage: str, counts: Counts, settings: Settings) -> None:
    """Raise CriticalError when so many inputs failed that something is wrong with the run, not with them."""
    failed = sum(counts.reasons[reason] for reason in FAULTS)
    if counts.inputs and failed / counts.inputs > settings.max_failed_share:
        raise CriticalError(
            f"{stage}: {failed} of {counts.inputs} inputs failed ({dict(counts.reasons)}), more than "
            f"MAX_FAILED_SHARE={settings.max_failed_share}; look at the network or the hosts, then run again"
        )


def check_failed_share(
    stage: str, failed: int, records: int, counts: Counts, settings: Settings, *, hosts: Mapping[str, Any]
) -> None:
    """Raise CriticalError when too many records have no picture because of networks or hosts; names the worst hosts."""
    if records and failed / records > settings.max_failed_share:
        worst = sorted(hosts.items(), key=lambda item: -item[1].reasons.total())[:3]
        named = "; ".join(f"{name}: {dict(stats.reasons)}, {stats.ok} ok" for name, stats in worst)
        raise CriticalError(
            f"{stage}: {failed} of {records} records have no picture because hosts or the network failed "
            f"({dict(counts.reasons)}), more than MAX_FAILED_SHARE={settings.max_failed_share}. Worst hosts: {named}. "
            "Look at the network or these hosts, then run the stage again: what is there is not fetched twice"
        )


def _broken_rules(lake: Lake, dataset: str, parts: Sequence[Part]) -> list[str]:
    os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # the house does not phone home
    import great_expectations as gx

    rules = RULES[dataset] + (SPREAD.get(dataset, []) if sum(part.rows for part in parts) >= FEWEST_FOR_SPREAD else [])
    columns = sorted({name for _, arguments in rules for name in _columns(arguments)})
    batches = [batch for part in parts for batch in lake.part_rows(part.key, columns)]
    frame = pa.Table.from_batches(batches, schema=pa.schema([SCHEMAS[dataset].field(name) for name in columns])).to_pandas()
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
    asset = context.data_sources.add_pandas("lake").add_dataframe_asset(dataset)
    batch = asset.add_batch_definition_whole_dataframe("part").get_batch({"dataframe": frame})
    suite = gx.ExpectationSuite(dataset, expectations=[getattr(gx.expectations, name)(**args) for name, args in rules])
    outcome = batch.validate(suite)
    return [_sentence(result) for result in outcome.results if not result.success]


def _columns(arguments: dict[str, Any]) -> list[str]:
    return list(arguments.get("column_list", [])) or [arguments["column"]]


def _sentence(result: Any) -> str:
    config = result.expectation_config
    seen = result.result.get("partial_unexpected_list") or [result.result.get("observed_value")]
    where = config.kwargs.get("column") or "+".join(config.kwargs.get("column_list", []))
    return f"{config.type} on {where} fails, for example {seen[:3]}"

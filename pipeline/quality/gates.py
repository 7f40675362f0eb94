"""Check a stage's parts before they become visible; a failed check stops the run with one line that says why."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from pipeline.datasets.lake import Lake, Part
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import SCHEMAS
from pipeline.datasets.stage import Counts
from pipeline.domain.outcome import Reason
from pipeline.errors import CriticalError, PoisonedResultError
from pipeline.quality.expectations import FIGURES, Expectation, load_expectations
from pipeline.quality.figures import Figures, failed_share, rows_to_previous
from pipeline.quality.keys import repeated
from pipeline.reporting.quality import write_checked
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
ROWS_CHECKED_AT_ONCE = 50_000
EXAMPLES = 3
UNIQUE = ("ExpectColumnValuesToBeUnique", "ExpectCompoundColumnsToBeUnique")
FIGURES_KEPT = 500  # rows of a table of figures that stand in the results; the worst are first


def check_parts(
    lake: Lake,
    run: Run,
    dataset: str,
    parts: Sequence[Part],
    *,
    settings: Settings,
    figures: Figures | None = None,
) -> dict[str, Any]:
    """Check all that `vocab/quality.yaml` expects of a dataset, keep the results beside the run, return their summary.

    `figures`: tables of the run that the stage has made. Raises PoisonedResultError that names what does not hold and
    stops the run, with the first part where it does not: nothing is published. CriticalError for a file that is not usable.
    """
    everything = load_expectations(settings.quality_file)
    suite = _Suite(everything, dataset)
    rows = sum(part.rows for part in parts)
    groups = list(_groups(parts))
    whole = len(groups) <= 1  # else no group can tell by itself whether a key comes twice
    found = [result for group in groups for result in suite.check_rows(lake, group, keys=whole)]
    if not whole:
        found += suite.check_keys(lake, parts)
    tables = _figures(lake, run, dataset, parts, figures or {})
    for about, table in tables.items():
        found += suite.check_table(about, table)
    results = _merged(suite.expectations, found)
    broken = [result for result in results if not result["passed"]]
    checked = {
        "dataset": dataset,
        "run_id": run.run_id,
        "rows": rows,
        "passed": not any(result["blocking"] for result in broken),
        "results": results,
        "figures": {about: table[:FIGURES_KEPT] for about, table in tables.items()},
    }
    page = write_checked(lake, run, checked)
    if blocking := [result for result in broken if result["blocking"]]:
        where = blocking[0]["part"] or "figures"
        why = "; ".join(result["sentence"] for result in blocking)
        raise PoisonedResultError(f"run {run.run_id} is blocked: {dataset} {where}: {why} ({lake.store.address(page)})")
    warnings = [f"{dataset}: {result['sentence']}" for result in broken]
    return {"dataset": dataset, "rows": rows, "rules": len(results), "passed": True, "warnings": warnings}


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


def _figures(lake: Lake, run: Run, dataset: str, parts: Sequence[Part], given: Figures) -> Figures:
    """The tables of a run's figures: those that every dataset has, and those that its stage has made."""
    rows = sum(part.rows for part in parts)
    common: dict[str, Any] = {"rows": rows, "rows_to_previous": rows_to_previous(lake, run, dataset, rows)}
    if "outcome" in SCHEMAS[dataset].names:
        common["failed_share"] = failed_share(lake, parts)
    (own,) = given.get("run", [{}])
    return {**given, "run": [common | own]}


class _Suite:
    """The expectations of one dataset, in one context of Great Expectations."""

    def __init__(self, everything: Mapping[str, list[Expectation]], dataset: str) -> None:
        os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")  # the house does not phone home
        import great_expectations as gx

        self._gx = gx
        # All are made, so that a fault in the file is found by the first gate of a run and not by the last.
        made = {name: [_made(gx, one, place) for place, one in enumerate(some)] for name, some in everything.items()}
        self.dataset = dataset
        self.expectations = everything.get(dataset, [])
        self._made = made.get(dataset, [])
        context = gx.get_context(mode="ephemeral")
        context.variables.progress_bars = {"globally": False}  # type: ignore[assignment]
        self._source = context.data_sources.add_pandas("lake")
        self._batches = {
            about: self._source.add_dataframe_asset(about).add_batch_definition_whole_dataframe("all")
            for about in ("rows", *FIGURES)
        }

    def check_rows(self, lake: Lake, parts: Sequence[Part], *, keys: bool) -> list[dict[str, Any]]:
        """Of some parts, the results of the expectations of rows; without `keys` not those of uniqueness."""
        columns = sorted({name for one in self.expectations if one.about == "rows" for name in one.columns})
        if not columns:
            return []
        batches = [batch for part in parts for batch in lake.part_rows(part.key, columns)]
        schema = pa.schema([SCHEMAS[self.dataset].field(name) for name in columns])
        where = parts[0].key if len(parts) == 1 else f"{parts[0].key} to {parts[-1].key.rpartition('/')[2]}"
        frame = pa.Table.from_batches([batch.select(columns) for batch in batches], schema=schema).to_pandas()
        return self._results("rows", frame, f"part {where}", without=() if keys else UNIQUE)

    def check_keys(self, lake: Lake, parts: Sequence[Part]) -> Iterator[dict[str, Any]]:
        """The results of the expectations of uniqueness, over all parts."""
        rows = sum(part.rows for part in parts)
        for place, one in enumerate(self.expectations):
            if one.about == "rows" and one.kind in UNIQUE:
                count, examples = repeated(lake, parts, one.columns, examples=EXAMPLES)
                yield {"place": place, "passed": not count, "unexpected": count, "checked": rows, "examples": examples} | {
                    "part": "parts taken together"
                }

    def check_table(self, about: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The results of the expectations of a table of figures."""
        import pandas as pd

        frame = pd.DataFrame(rows, columns=list(FIGURES[about]))
        for name in frame.columns.difference(["label", "provider"]):
            frame[name] = frame[name].astype("float64")
        return self._results(about, frame, "")

    def _results(self, about: str, frame: Any, where: str, *, without: Sequence[str] = ()) -> list[dict[str, Any]]:
        chosen = [
            made
            for one, made in zip(self.expectations, self._made, strict=True)
            if one.about == about and one.kind not in without
        ]
        if not chosen:
            return []
        suite = self._gx.ExpectationSuite(f"{self.dataset} {about}", expectations=chosen)
        outcome = self._batches[about].get_batch({"dataframe": frame}).validate(suite)
        return [_result(one, where) for one in outcome.results]


def _made(gx: Any, expectation: Expectation, place: int) -> Any:
    kind = getattr(gx.expectations, expectation.kind, None)
    if kind is None:
        raise CriticalError(f"{expectation.place}: Great Expectations knows no {expectation.kind}")
    try:
        return kind(**expectation.arguments, meta={"place": place})
    except (TypeError, ValueError) as error:  # pydantic's own error is a ValueError
        problem = "; ".join(line.strip() for line in str(error).splitlines()[1:3])
        raise CriticalError(f"{expectation.place}: {expectation.kind} does not take these arguments ({problem})") from error


def _result(outcome: Any, where: str) -> dict[str, Any]:
    """One expectation on one table."""
    seen = outcome.result.get("partial_unexpected_list") or [outcome.result.get("observed_value")]
    return {
        "place": outcome.expectation_config.meta["place"],
        "passed": bool(outcome.success),
        "unexpected": int(outcome.result.get("unexpected_count") or 0),
        "checked": int(outcome.result.get("element_count") or 0),
        "examples": [_plain(value) for value in seen[:EXAMPLES]],
        "part": where,
    }


def _plain(value: Any) -> Any:
    """A value of pandas as JSON knows it."""
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value.item() if hasattr(value, "item") else value


def _merged(expectations: Sequence[Expectation], found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The results on all tables together, one an expectation."""
    merged = []
    for place, expectation in enumerate(expectations):
        own = [result for result in found if result["place"] == place]
        broken = [result for result in own if not result["passed"]]
        examples = [value for result in broken for value in result["examples"]][:EXAMPLES]
        merged.append(
            {
                "about": expectation.about,
                "expectation": expectation.kind,
                "columns": expectation.columns,
                "arguments": {
                    name: value for name, value in expectation.arguments.items() if name not in ("column", "column_list")
                },
                "blocking": expectation.blocking,
                "passed": not broken,
                "checked": sum(result["checked"] for result in own),
                "unexpected": sum(result["unexpected"] for result in own),
                "part": broken[0]["part"] if broken else "",
                "sentence": _sentence(expectation, examples) if broken else "",
            }
        )
    return merged


def _sentence(expectation: Expectation, examples: Sequence[Any]) -> str:
    return f"{expectation.kind} on {'+'.join(expectation.columns)} fails, for example {list(examples)}"


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

"""`enrich harvest`: a harvest by hand, with a summary; and its dry run."""

from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.datasets.lake import open_lake
from pipeline.datasets.run import Run
from pipeline.domain.scope import Scope, Selection
from pipeline.errors import CriticalError
from pipeline.harvest.estimate import Estimate, estimate_run
from pipeline.harvest.steps import harvest_window, plan_harvest, publish_records
from pipeline.settings import Settings

HOSTS_SHOWN = 12

out = Console(highlight=False, soft_wrap=True)


def harvest_run(run_key: str, *, settings: Settings) -> dict[str, Any]:
    """Plan, harvest and publish a run; returns the stage's report and prints a summary.

    Raises CriticalError when nothing at all was found: by hand that is hardly what was meant.
    """
    started = datetime.now(UTC)
    results = [harvest_window(key, settings=settings) for key in plan_harvest(run_key, settings=settings)]
    lake = open_lake(settings)
    report: dict[str, Any] = lake.read_json(publish_records(run_key, results, settings=settings))
    run = lake.run(run_key)
    _print_summary(run, report, lake.store.address(run.dataset_folder("records")), datetime.now(UTC) - started)
    counts = report["counts"]
    if not counts["inputs"] and not counts["extra"].get("windows_done_before") and report["harvest"]["state"] != "partial":
        raise CriticalError(
            f"nothing was found for {describe(run.selection)} in {_scope(run.scope)}; try the query, or a wider window"
        )
    return report


def print_estimate(run: Run, *, settings: Settings) -> Estimate:
    """Say what the run would take; CriticalError when it would find nothing."""
    found = estimate_run(run, settings=settings)
    out.print(f"[bold]dry run[/]      {describe(run.selection)}, {_scope(run.scope)}; nothing is harvested, nothing downloaded")
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("records", f"{found.records:,}", f"in {found.slices:,} window{'s' * (found.slices != 1)}")
    table.add_row("requests", f"{found.requests:,}", "to the API")
    table.add_row("hours", "–" if found.hours is None else f"{found.hours:g}", f"at the rate limit: {found.rate}")
    measured = f"sizes of {found.sizes_known} of {found.sizes_asked} sampled images are known; else 0.27 MB each is assumed"
    table.add_row("images", f"{found.images:,}", f"{found.download_gb:g} GB to download ({measured})")
    out.print(table)
    for host, number in list(found.per_host.items())[:HOSTS_SHOWN]:
        out.print(f"  {number:>12,} image requests to {host}")
    if len(found.per_host) > HOSTS_SHOWN:
        out.print(f"  and {len(found.per_host) - HOSTS_SHOWN} more hosts (from a sample)")
    for name, values in found.facets.items():
        shown = ", ".join(f"{label} {number:,}" for label, number in list(values.items())[:5])
        out.print(f"  {name.lower():<14} {shown}")
    for note in found.notes:
        out.print(f"[yellow]note[/]  {note}")
    if not found.records and not found.notes:
        raise CriticalError(f"nothing was found for {describe(run.selection)} in {_scope(run.scope)}")
    return found


def describe(selection: Selection) -> str:
    """A selection in words."""
    filters = f" with {', '.join(selection.filters)}" if selection.filters else ""
    return f"{selection.kind.replace('_', ' ')} {selection.value}{filters}"


def _print_summary(run: Run, report: dict[str, Any], folder: str, took: timedelta) -> None:
    counts, state = report["counts"], report["harvest"]
    extra = counts["extra"]
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_row("records", f"{report['datasets']['records']:,}", f"{counts['ok']:,} with an image")
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in counts["reasons"].items())
    table.add_row("not ok", f"{sum(counts['reasons'].values()):,}", reasons)
    twice = extra.get("duplicate_ids", 0) + extra.get("repeated_across_windows", 0)
    table.add_row("promised", f"{state['promised']:,}", f"by the source; {twice:,} came twice and were dropped")
    windows = ", ".join(f"{number:,} {name}" for name, number in state["windows"].items())
    before = extra.get("windows_done_before", 0)
    again = f"{before:,} of them were done before; --again harvests anew" if before else ""
    table.add_row("windows", windows, again)
    table.add_row("requests", f"{extra.get('requests', 0):,}", "over all starts of the run")
    out.print(f"[bold]Run {run.run_id}[/] in {took.total_seconds():.0f} s: {_verdict(state)}")
    out.print(table)
    out.print(f"[bold]files[/]  {folder}")


def _verdict(state: dict[str, Any]) -> str:
    if state["state"] == "complete":
        return "[green]complete[/]"
    if state["state"] == "partial":
        return f"[yellow]partial[/]: {state['why']}; the same command goes on where it stopped"
    return f"[red]short[/]: {state['why']}"


def _scope(scope: Scope) -> str:
    if scope.mode == "window" and scope.start and scope.end:
        return f"the window {scope.start:%Y-%m-%d %H:%M} to {scope.end:%Y-%m-%d %H:%M}"
    return {"ids": "a list of ids", "full": "everything"}.get(scope.mode, scope.mode)

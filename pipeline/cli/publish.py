"""`enrich publish`, `enrich withdraw`, `enrich forget`: what leaves the house, and how it comes back."""

import getpass
import json
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipeline.settings import Settings

if TYPE_CHECKING:
    from pipeline.publish.forget import Forgotten
    from pipeline.publish.withdraw import Tally

out = Console(highlight=False, soft_wrap=True)

ModelName = Annotated[str | None, typer.Option("--model", help="Of this model …")]
Version = Annotated[str | None, typer.Option(help="… and of this version of it.")]
ConceptName = Annotated[str | None, typer.Option("--concept", help="Of this concept: its slug or its URI.")]
Provider = Annotated[str | None, typer.Option(help="On records of this institution, or of this aggregator.")]
RecordId = Annotated[str | None, typer.Option("--record", help="On this record.")]
RunId = Annotated[str | None, typer.Option("--run", help="Made by this run (its id).")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it; without this the command only says what it would do.")]


def publish(
    run: Annotated[str, typer.Option(help="The run's key, as `enrich start` printed it.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent; nothing leaves or changes.")] = False,
    jsonl: Annotated[
        Path | None, typer.Option("--jsonl", help="With --dry-run: write every document that would be posted to this file.")
    ] = None,
    samples: Annotated[int, typer.Option(help="With --dry-run: show so many of the documents.", min=0)] = 20,
    approved: Annotated[
        bool, typer.Option("--approved", help="You have looked at them: send also what waits (PUBLISH_APPROVAL_ABOVE).")
    ] = False,
) -> None:
    """Send a run's labels to the platforms, as its DAG would; --dry-run shows exactly what would be sent.

    Examples:  enrich publish --run runs/run=try/run.json --dry-run  ·
    enrich publish --run runs/run=try/run.json --dry-run --jsonl documents.jsonl  ·
    enrich publish --run runs/run=try/run.json --approved
    """
    from pipeline.cli.stages import run_stage
    from pipeline.publish.preview import preview_publication

    if not dry_run:
        print(run_stage("publish", run, Settings(), approved=approved))
        return
    now = datetime.now(UTC)
    found = preview_publication(run, now=now, settings=Settings(), every_document=jsonl, samples=samples, approved=approved)
    table = Table("target", "concept", "provider", "send", "update", "retract", "held back", title="dry run: nothing leaves")
    for (target, concept, provider), cells in sorted(_cells(found.counts).items()):
        held = ", ".join(f"{count:,} {why}" for (action, why), count in sorted(cells.items()) if action == "hold")
        numbers = [f"{cells[action, '']:,}" if cells[action, ""] else "–" for action in ("send", "update", "retract")]
        table.add_row(target, concept, provider, *numbers, held or "–")
    out.print(table)
    for document in found.samples:
        out.print_json(json.dumps(document, ensure_ascii=False), indent=None)
    shown = f"; {len(found.samples)} of them are shown" if found.documents > len(found.samples) else ""
    out.print(f"{found.documents:,} documents would be posted{shown}{f'; all are in {jsonl}' if jsonl else ''}")


def withdraw(
    model: ModelName = None,
    version: Version = None,
    concept: ConceptName = None,
    provider: Provider = None,
    record: RecordId = None,
    run: RunId = None,
    why: Annotated[str, typer.Option(help="The reason; it is kept in the ledger.")] = "",
    yes: Yes = False,
    undo: Annotated[
        bool, typer.Option("--undo", help="The other way round: the next run that makes these statements may send them again.")
    ] = False,
) -> None:
    """Take statements back from the platforms: all for which everything holds that is said. Without --yes it only counts.

    What is withdrawn is not sent again by later runs, until --undo. Killed in between, the same command goes on.

    Examples:  enrich withdraw --model museum --version 3  ·  enrich withdraw --concept textile --provider "City Archive" --yes
    ·  enrich withdraw --run default-2026-01-01T0000 --why "wrong thresholds" --yes
    """
    from pipeline.publish import withdraw as steps

    settings = Settings()
    choice = steps.choice_of(settings, model=model, version=version, concept=concept, provider=provider, record=record, run=run)
    now = datetime.now(UTC)
    if undo:
        allowed = steps.allow_again(choice, now=now, settings=settings) if yes else None
        out.print("nothing is done without --yes" if allowed is None else f"{allowed:,} statements may be sent again")
        return
    found = steps.tally(choice, settings=settings)
    print_tally(found)
    if not yes:
        out.print("nothing is done without --yes")
        return
    done = steps.withdraw(choice, why=why or f"withdrawn by {getpass.getuser()}", now=now, settings=settings)
    out.print(f"{done.deleted:,} statements are withdrawn, no search finds them any more; {done.never_sent:,} were never sent")


def forget(
    record: Annotated[str | None, typer.Option("--record", help="Take down this record.")] = None,
    provider: Annotated[str | None, typer.Option(help="Or all records of this institution or aggregator.")] = None,
    why: Annotated[str, typer.Option(help="The reason; it is kept with the tombstone.")] = "",
    yes: Yes = False,
    again: Annotated[
        bool, typer.Option("--again", help="Remove once more all that was taken down: after a run that was under way.")
    ] = False,
    lift: Annotated[bool, typer.Option("--lift", help="The other way round: it may be harvested again.")] = False,
) -> None:
    """Take down a record or a provider: withdraw its annotations, remove its pictures, features, labels and suggestions.

    A tombstone stays, which keeps it from coming back. Without --yes it only counts.

    Examples:  enrich forget --record /2021650/abc --why "request of 3 May" --yes  ·  enrich forget --provider "City Archive"
    """
    from pipeline.database import connect, tombstones
    from pipeline.database.ledger import Choice
    from pipeline.domain.identifiers import record_of
    from pipeline.errors import CriticalError
    from pipeline.publish import forget as steps
    from pipeline.publish import withdraw as withdrawing

    settings, now = Settings(), datetime.now(UTC)
    if again:
        _print_forgotten(steps.forget_again(now=now, settings=settings))
        return
    if bool(record) == bool(provider):
        raise CriticalError("say what to forget: either --record or --provider")
    if record and not record_of(record):
        raise CriticalError(f"--record {record}: say /dataset/local, or the record's address at Europeana")
    kind, name = (tombstones.RECORD, record_of(record)) if record else (tombstones.PROVIDER, str(provider).strip())
    choice = Choice(record_id=name) if record else Choice(provider=name)
    if lift:
        if not tombstones.lift(connect(settings), kind, name):
            raise CriticalError(f"{kind} {name}: there is no tombstone")
        out.print(f"{kind} {name} may be harvested again")
        return
    print_tally(withdrawing.tally(choice, settings=settings))
    if provider:
        out.print(f"records of {name}: {len(steps.records_of_provider(name, settings=settings)):,}")
    if not yes:
        out.print("nothing is done without --yes")
        return
    _print_forgotten(steps.forget(kind, name, why=why or f"by {getpass.getuser()}", now=now, settings=settings))


def reconcile(
    repair: Annotated[bool, typer.Option("--repair", help="Make both say the same; without this it is only told.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report to this file.")] = None,
) -> None:
    """Compare the ledger with all annotations of our account at Europeana, both ways.

    Examples:  enrich reconcile --json report.json  ·  enrich reconcile --repair
    """
    from pipeline.publish.reconcile import reconcile as compare

    found = compare(repair=repair, now=datetime.now(UTC), settings=Settings())
    if json_file:
        json_file.write_text(json.dumps(found.to_json(), indent=1) + "\n")
    out.print(f"{found.agree:,} statements are where the ledger says; {sum(found.findings.values()):,} disagree")
    table = Table("finding", "annotations", "for example")
    for finding, count in found.findings.most_common():
        example = next((f"{one['annotation']}: {one['about']}" for one in found.samples if one["finding"] == finding), "")
        table.add_row(str(finding), f"{count:,}", example)
    if found.findings:
        out.print(table)
        out.print("repaired, but for what is not in the index or unknown" if repair else "nothing is done without --repair")


def _print_forgotten(found: "Forgotten") -> None:
    out.print(
        f"{found.withdrawn:,} annotations are withdrawn, {found.pictures:,} pictures blanked, {found.parts:,} parts written "
        f"anew; {found.records:,} records have a tombstone"
    )
    if found.elsewhere:
        out.print(f"[yellow]note[/]  {found.elsewhere:,} statements stand on platforms that the settings do not lead to")
    if found.open_runs:
        out.print(f"[yellow]note[/]  not finished: {', '.join(found.open_runs)}; afterwards run: enrich forget --again")


def print_tally(found: "Tally") -> None:
    """How the statements of a choice stand."""
    table = Table("target", "concept", "provider", "state", "statements", title=str(found.choice))
    for (target, concept, provider, state), count in sorted(found.counts.items()):
        table.add_row(target, concept, provider, state, f"{count:,}")
    out.print(table)
    out.print(f"to be deleted on the platforms: {found.there:,}; never sent: {found.waiting:,}")
    for target, count in sorted(found.elsewhere.items()):
        out.print(f"[yellow]note[/]  {count:,} stand on {target}, which the settings do not lead to: they stay")


def _cells(
    counts: "Counter[tuple[str, str, str, str, str]]",
) -> dict[tuple[str, str, str], "Counter[tuple[str, str]]"]:
    """Counts by action and reason, for each target, concept and provider."""
    found: dict[tuple[str, str, str], Counter[tuple[str, str]]] = {}
    for (target, concept, provider, action, why), count in counts.items():
        found.setdefault((target, concept, provider), Counter())[action, why] += count
    return found

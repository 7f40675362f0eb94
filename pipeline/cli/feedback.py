"""`enrich feedback …`: what people say of labels comes in, is measured, and decides what they are asked next."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table

from pipeline.settings import Settings

feedback = typer.Typer(no_args_is_help=True, help="Votes and answers of people: into the lake, into figures, and what to ask.")
out = Console()
_SHOWN = 10  # problems, words


@feedback.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="The export of a campaign or a project, as it came.")],
    kind: Annotated[str, typer.Option("--from", help="crowdheritage (JSON), zooniverse (CSV) or label-studio (JSON).")],
    accept: Annotated[
        str,
        typer.Option(help="When a tag is accepted: majority, net:N (at least N more for than against), platform, dawid-skene."),
    ] = "majority",
    campaign: Annotated[
        str, typer.Option(help="Exports of one campaign follow each other; those of several stand beside each other.")
    ] = "",
    labels: Annotated[
        Path | None, typer.Option(help="A CSV label,concept: what labels mean that the vocabulary does not have.")
    ] = None,
    fewest_votes: Annotated[
        int | None, typer.Option("--min-votes", min=1, help="So many votes decide; zooniverse takes 3, other kinds 1.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and count, write nothing into the lake.")] = False,
    figures_file: Annotated[Path | None, typer.Option("--json", help="Write the counts to this file.")] = None,
) -> None:
    """Read what people said of tags: counts by accept rule side by side, and verdicts into the lake. No name is kept.

    Examples:  enrich feedback import --from crowdheritage campaign.json --dry-run --json counts.json
      ·  enrich feedback import --from zooniverse classifications.csv --accept dawid-skene
    """
    from pipeline.feedback.steps import Wish, import_feedback, look_at

    wish = Wish(file, kind, accept, campaign, labels, fewest_votes)
    if dry_run:
        said, figures = look_at(wish, settings=Settings())
        _show(figures, said.problems, said.notes, asdict(said.annotators) if said.annotators else None)
        out.print("a dry run: nothing was written into the lake")
    else:
        imported = import_feedback(wish, settings=Settings(), now=datetime.now(UTC))
        figures, report = imported.report["figures"], imported.report
        _show(figures, report["problems"], report["notes"], report["annotators"])
        _show_verdicts(report, is_new=imported.is_new)
    if figures_file is not None:
        figures_file.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _show(
    figures: Mapping[str, Any], problems: Sequence[str], notes: Sequence[str], annotators: Mapping[str, Any] | None
) -> None:
    """The counts and the rules as a table, and a line for everything that was not taken."""
    table = Table(
        Column("accepted by", no_wrap=True), Column("machine tags", justify="right"), Column("human tags", justify="right")
    )
    for rule, counts in figures["accepted"].items():
        table.add_row(rule, *(_share(counts[kind], figures[kind]) for kind in ("machine", "human")))
    table.add_section()
    table.add_row("all", f"{figures['machine']:,}", f"{figures['human']:,}")
    out.print(table)
    errors = f", {figures['errors']:,} cannot be read" if figures["errors"] else ""
    out.print(
        f"{figures['annotations']:,} annotations{errors}; {figures['unvoted']:,} without votes (an export of WITH shows ties "
        f"so, too), {figures['tied']:,} tied",
        highlight=False,
        soft_wrap=True,
    )
    for problem in problems[:_SHOWN]:
        out.print(f"error: {problem}", markup=False, highlight=False, soft_wrap=True)
    if len(problems) > _SHOWN:
        out.print(f"and {figures['errors'] - _SHOWN:,} more errors")
    for note in notes:
        out.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    if annotators:
        out.print(
            f"{annotators['count']:,} annotators; {annotators['median_agreement']:.0%} of the answers of the one in the middle "
            f"agree with the outcome, {annotators['lowest_agreement']:.0%} of those of the one who differs most",
            highlight=False,
            soft_wrap=True,
        )


def _share(count: int, total: int) -> str:
    return f"{count:,} ({count / total:.1%})" if total else "–"


def _show_verdicts(report: Mapping[str, Any], *, is_new: bool) -> None:
    verdicts = ", ".join(f"{count:,} {verdict}" for verdict, count in report["verdicts"].items()) or "none"
    out.print(f"verdicts by {report['rule']}: {verdicts}", highlight=False, soft_wrap=True)
    unknown = list(report["unknown_labels"].items())
    if unknown:
        words = ", ".join(f"{word!r} ({count:,})" for word, count in unknown[:_SHOWN])
        out.print(
            f"not in the vocabulary (--labels says what they mean): {words}", markup=False, highlight=False, soft_wrap=True
        )
    state = "written" if is_new else "this export was imported before: nothing has changed"
    out.print(f"{report['run_id']}: {state}", highlight=False, soft_wrap=True)


@feedback.command("thresholds")
def thresholds(
    file: Annotated[Path, typer.Option("--out", help="The file for the proposal (JSON).")],
) -> None:
    """How precise labels are by what people say, and which thresholds follow: a proposal. Nothing changes by itself.

    Example:  enrich feedback thresholds --out proposal.json
    """
    from pipeline.feedback.proposal import propose

    proposal = propose(settings=Settings())
    file.write_text(json.dumps(proposal, indent=1) + "\n", encoding="utf-8")
    _show_precision(proposal["precision"])
    name, version = proposal["model"], proposal["version"]
    table = Table(
        Column("concept", no_wrap=True),
        "decided",
        "right",
        "publish from",
        "published",
        "why",
        title=f"{name} {version}: thresholds",
    )
    for one in sorted(proposal["concepts"], key=lambda one: -one["decided"]):
        if one["decided"]:
            limits = _before_after(*(_limit(one[when]["publish"]) for when in ("before", "after")))
            counts = _before_after(*(f"{one[f'published_{when}']:,}" for when in ("before", "after")))
            table.add_row(one["concept"], str(one["decided"]), str(one["right"]), limits, counts, one["why"])
    out.print(table)
    out.print(f"{file}: look at it, then: enrich feedback apply {file}", highlight=False, soft_wrap=True)


def _show_precision(rows: Sequence[Mapping[str, Any]]) -> None:
    table = Table("model", "by", "name", "decided", "right", "precision", "95 %", "of published", title="measured precision")
    for row in rows:
        low, high = row["interval"]
        published = row["published_decided"]
        table.add_row(
            row["model"],
            row["by"],
            row["name"] if row["by"] != "model" else "",
            f"{row['decided']:,}",
            f"{row['right']:,}",
            f"{row['share']:.3f}",
            f"{low:.2f}–{high:.2f}",
            f"{row['published_right'] / published:.3f} of {published:,}" if published else "–",
        )
    out.print(table)


def _limit(value: float | None) -> str:
    return "never" if value is None else f"{value:.3f}"


def _before_after(before: str, after: str) -> str:
    return before if before == after else f"{before} → {after}"


@feedback.command("apply")
def apply(file: Annotated[Path, typer.Argument(help="A proposal of `enrich feedback thresholds`.")]) -> None:
    """Register a version of the model with a proposal's thresholds: the same network. It is in force once you release it.

    Example:  enrich feedback apply proposal.json
    """
    from pipeline.feedback.proposal import apply as apply_proposal

    name, version = apply_proposal(file, settings=Settings(), now=datetime.now(UTC))
    out.print(f"{name} {version} is registered; to bring it into force: enrich model release {name} {version}", soft_wrap=True)


@feedback.command("sample")
def sample_labels(
    run: Annotated[str, typer.Option(help="The run whose labels are asked about, by its key.")],
    budget: Annotated[int, typer.Option(min=1, help="So many labels at most.")],
    target: Annotated[str, typer.Option("--to", help="with-campaign, zooniverse or label-studio.")],
    file: Annotated[Path, typer.Option("--out", help="The file to hand over.")],
    seed: Annotated[int, typer.Option(help="Decides what is drawn at random.")] = 1,
    quota: Annotated[int, typer.Option(help="So many subjects Zooniverse takes of you.", min=1)] = 100,
) -> None:
    """Choose the labels that people should look at next: doubtful ones, of concepts little is known of, no picture twice.

    Example:  enrich feedback sample --run runs/run=night/run.json --budget 100 --to zooniverse --out manifest.csv
    """
    from pipeline.feedback.hand_over import sample

    chosen = sample(run, target, file, budget=budget, seed=seed, quota=quota, settings=Settings())
    table = Table(Column("concept", no_wrap=True), "labels", "scores")
    for label, count in Counter(one.label for one in chosen).most_common():
        scores = sorted(one.score for one in chosen if one.label == label)
        table.add_row(label, f"{count:,}", f"{scores[0]:.2f}–{scores[-1]:.2f}")
    out.print(table)
    out.print(f"{file}: {len(chosen):,} labels for {target}; docs/feedback.md says how to hand it over", soft_wrap=True)


@feedback.command("ask")
def ask_people(
    run: Annotated[str, typer.Option(help="The run whose labels are asked about, by its key.")],
    campaign: Annotated[str, typer.Option(help="A campaign of WITH, which must be there.")],
    budget: Annotated[int, typer.Option(min=1, help="So many labels at most.")],
    seed: Annotated[int, typer.Option(help="Decides what is drawn at random.")] = 1,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this the command only says what it would do.")] = False,
) -> None:
    """Choose labels as `enrich feedback sample` does, and put them to the vote in a campaign of WITH, each once.

    Example:  enrich feedback ask --run runs/run=night/run.json --campaign fifties --budget 500 --yes
    """
    from pipeline.feedback.ask import SHOWN, ask

    asked = ask(run, campaign, budget=budget, seed=seed, settings=Settings(), dry_run=not yes)
    out.print(f"{asked.chosen:,} labels are chosen; {asked.there:,} of them are in the campaign {campaign} already")
    if not yes:
        out.print(f"{asked.chosen - asked.there:,} would be imported; nothing is done without --yes")
        return
    looked = f"it could not be looked at: {asked.unchecked}" if asked.unchecked else f"{len(asked.missing):,} are not there"
    out.print(f"{asked.imported:,} are imported, {asked.refused:,} refused; afterwards {looked}", markup=False, soft_wrap=True)
    for record, body in asked.missing[:SHOWN]:
        out.print(f"  {record} {body}", highlight=False, soft_wrap=True)
    if asked.missing or asked.unchecked:
        raise typer.Exit(1)


@feedback.command("withdraw")
def withdraw(
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without this the command only says what it would do.")] = False,
) -> None:
    """Take back what people have rejected, wherever it stands. Later runs do not send it again.

    Examples:  enrich feedback withdraw  ·  enrich feedback withdraw --yes
    """
    from pipeline.database.ledger import Choice
    from pipeline.feedback.rejected import rejected_statements
    from pipeline.publish.withdraw import withdraw as take_back

    settings = Settings()
    table = Table("record", Column("concept", no_wrap=True), "votes", "on platforms", "waiting")
    found = list(rejected_statements(settings=settings))
    for one in found:
        table.add_row(one.record_id, one.label, one.votes, str(one.there), str(one.waiting))
    out.print(table)
    if not yes:
        out.print("nothing is done without --yes")
        return
    deleted = 0
    for one in found:
        choice = Choice(record_id=one.record_id, concept_uri=one.concept_uri)
        done = take_back(choice, why=f"people have rejected it: {one.votes}", now=datetime.now(UTC), settings=settings)
        deleted += done.deleted
    out.print(f"{deleted:,} statements are withdrawn, no search finds them any more")

"""`enrich dataset …`: labelled pictures, before anything is trained on them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from pipeline.settings import Settings

dataset = typer.Typer(no_args_is_help=True, help="Labelled pictures, before anything is trained on them.")
out = Console()
SHOWN = 12  # concepts, or labels


@dataset.command("build")
def build(
    folder: Annotated[Path, typer.Option("--out", help="A new folder for the dataset.")],
    collections: Annotated[
        list[Path] | None, typer.Option("--collection", help="A folder with pictures and metadata.csv; repeat.")
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            metavar="KIND:PATH",
            help="Other labelled data; KIND: folders, label-studio, zooniverse, pilot, votes, lake (LABELS.csv@RUN) or run "
            "(RUN); repeat.",
        ),
    ] = None,
    pictures: Annotated[
        list[str] | None,
        typer.Option(help="A folder, or the word lake, with pictures that sources name by address or id; repeat."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="A CSV label,concept: what labels mean that the vocabulary does not have.")
    ] = None,
    fewest_votes: Annotated[
        int | None, typer.Option("--min-votes", min=1, help="So many votes decide; zooniverse takes 3, other kinds 1.")
    ] = None,
    unseen: Annotated[
        str | None,
        typer.Option(help="The provider that is never trained on; '' for none. Without it one is chosen, if one can be."),
    ] = None,
) -> None:
    """Put labelled pictures together: usable ones, each once, split so that nothing leaks. Nothing is downloaded.

    Examples:  enrich dataset build --collection museum --collection archive --out var/datasets/both
      ·  enrich dataset build --source pilot:checked.csv --pictures files --out var/datasets/pilot
      ·  enrich dataset build --source run:maps-and-coins --out var/datasets/queried
    """
    from pipeline.training.assemble import build_dataset

    built = build_dataset(
        collections or [],
        folder,
        settings=Settings(),
        now=datetime.now(UTC),
        unseen=unseen,
        sources=sources or [],
        pictures=pictures or [],
        meanings=labels,
        fewest_votes=fewest_votes,
    )
    for name, count in sorted(built.splits.items()):
        out.print(f"{name:8} {count:>7,} pictures")
    for reason, count in sorted(built.left_out.items()):
        out.print(f"left out {count:>7,} {reason}")
    for note in built.notes:
        out.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    for source, label, count in built.unknown_labels[:SHOWN]:
        known = f"warning: {source}: the label {label!r} ({count:,} times) is not in the vocabulary; it is dropped"
        out.print(known, markup=False, highlight=False, soft_wrap=True)
    if len(built.unknown_labels) > SHOWN:
        more = f"and {len(built.unknown_labels) - SHOWN:,} more labels: {folder / 'unknown_labels.csv'}"
        out.print(more, markup=False, highlight=False, soft_wrap=True)
    out.print(f"unseen provider: {built.unseen_provider or 'none chosen'}; look at {folder / 'card.md'}", soft_wrap=True)


@dataset.command("noise")
def noise(
    collection: Annotated[Path, typer.Option(help="A folder with pictures and metadata.csv.")],
    folder: Annotated[Path, typer.Option("--out", help="Where page.html, suspicious.csv and concepts.csv go.")],
    recipe: Annotated[str, typer.Option(help="The recipe of the models that judge: see vocab/recipes.")] = "small",
) -> None:
    """Which labels are probably wrong? Each is held against models that never saw its picture.

    Example:  enrich dataset noise --collection DIR --recipe frozen --out var/noise
    """
    from pipeline.training.noise_report import report_noise

    report = report_noise(collection, recipe, folder, settings=Settings())
    table = Table(
        Column("concept", no_wrap=True), "labelled", "probably wrong", "probably missing", "precision", "recall", "wrong of all"
    )
    for one in report.concepts[:SHOWN]:
        table.add_row(
            one.slug,
            str(one.given),
            str(one.probably_wrong),
            str(one.probably_missing),
            f"{one.precision:.2f}",
            f"{one.recall:.2f}",
            f"{one.share:.1%}",
        )
    out.print(table)
    more = len(report.concepts) - SHOWN
    if more > 0:
        out.print(f"and {more} concepts with less noise")
    out.print(f"{len(report.suspicions):,} labels are doubted; look at {folder / 'page.html'}", soft_wrap=True)

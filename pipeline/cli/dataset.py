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
SHOWN = 12  # concepts


@dataset.command("build")
def build(
    collections: Annotated[list[Path], typer.Option("--collection", help="A folder with pictures and metadata.csv; repeat.")],
    folder: Annotated[Path, typer.Option("--out", help="A new folder for the dataset.")],
    unseen: Annotated[
        str | None,
        typer.Option(help="The provider that is never trained on; '' for none. Without it one is chosen, if one can be."),
    ] = None,
) -> None:
    """Put labelled folders together: usable pictures, each once, split so that nothing leaks.

    Example:  enrich dataset build --collection museum --collection archive --out var/datasets/both
    """
    from pipeline.training.assemble import build_dataset

    built = build_dataset(collections, folder, settings=Settings(), now=datetime.now(UTC), unseen=unseen)
    for name, count in sorted(built.splits.items()):
        out.print(f"{name:8} {count:>7,} pictures")
    for reason, count in sorted(built.left_out.items()):
        out.print(f"left out {count:>7,} {reason}")
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

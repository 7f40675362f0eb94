"""The commands of `enrich`. They only translate arguments; the rooms below do the work."""

import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import structlog
import typer
from pydantic import ValidationError
from rich.console import Console

from pipeline.cli import harvest_commands
from pipeline.cli.dataset import dataset
from pipeline.cli.explain import explain
from pipeline.cli.feedback import feedback
from pipeline.cli.images import images
from pipeline.cli.model import REFUSED, model, show_engines, show_trained
from pipeline.cli.publish import forget, publish, reconcile, withdraw
from pipeline.cli.relabel import relabel
from pipeline.errors import CriticalError, EnrichmentError, RefusedReleaseError
from pipeline.settings import Settings

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Enrich images of cultural heritage.", rich_markup_mode="rich"
)
sandbox = typer.Typer(no_args_is_help=True, help="Stand-in servers of Europeana, the Annotation API and WITH.")
for name, group in {
    "sandbox": sandbox,
    "model": model,
    "dataset": dataset,
    "images": images,
    "feedback": feedback,
    "source": harvest_commands.source,
}.items():
    app.add_typer(group, name=name)
app.command()(harvest_commands.start)
app.command()(harvest_commands.harvest)
app.command()(explain)
app.command()(relabel)
app.command()(publish)
app.command()(withdraw)
app.command()(forget)
app.command()(reconcile)

out = Console()
STAGES = ("harvest", "images", "labels", "suggestions", "publish")


def main() -> None:
    """Run a command; an error of ours is one clear line and exit code 2, a refused model 3, else it is a bug: a traceback."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except ValidationError as error:
        for problem in error.errors(include_input=False):
            setting = "_".join(str(part) for part in problem["loc"]).upper()
            Console(stderr=True).print(f"[red bold]setting {setting}[/]: {problem['msg']}", highlight=False)
        sys.exit(2)
    except OSError as error:  # a folder that may not be written, a file that is not there
        Console(stderr=True).print(f"[red bold]OSError[/]: {error}", highlight=False, soft_wrap=True)
        sys.exit(2)
    except RefusedReleaseError as error:  # nothing is broken: what is in force goes on
        Console(stderr=True).print(str(error), highlight=False, soft_wrap=True)
        sys.exit(REFUSED)
    except EnrichmentError as error:
        Console(stderr=True).print(f"[red bold]{type(error).__name__}[/]: {error}", highlight=False, soft_wrap=True)
        sys.exit(2)


@app.command()
def run(
    collection: Annotated[
        Path | None, typer.Option(help="Serve this folder (pictures + metadata.csv) instead of the built-in one.")
    ] = None,
    port: Annotated[int, typer.Option(help="The sandbox's port; keep it, or the platform is another one.")] = 8090,
    date: Annotated[
        str, typer.Option(help="The night to enrich; the sandbox's records changed the day before.")
    ] = "2026-01-02",
    dry_run: Annotated[bool, typer.Option(help="Do everything but send annotations.")] = False,
) -> None:
    """The nightly job on this machine: sandbox, model, Airflow's DAG enrich_nightly, and a summary.

    Examples:  enrich run  ·  enrich run --collection ../my-pictures
    """
    from pipeline.cli.local_run import LocalRun

    LocalRun(Settings.from_environment_alone(), collection=collection, port=port, date=date, dry_run=dry_run).run()


@app.command()
def train(
    collection: Annotated[Path, typer.Option(help="A folder with pictures and metadata.csv (splits train and test).")],
    recipe: Annotated[
        str, typer.Option(help="A recipe of vocab/recipes: default (the best, pretrained), frozen, small (from scratch), …")
    ] = "small",
    name: Annotated[str, typer.Option(help="The model's name.")] = "default",
    again: Annotated[bool, typer.Option(help="Train even if this very data and recipe have a released model.")] = False,
    backbone: Annotated[str | None, typer.Option(help="A network of keras.applications instead of the recipe's.")] = None,
    engines: Annotated[
        bool, typer.Option(help="Then try what runs the released version fastest: enrich model bench-engines.")
    ] = True,
    report: Annotated[
        Path | None, typer.Option(help="Then write the evaluation of its held-out pictures to this folder: index.html.")
    ] = None,
) -> None:
    """Train, measure and register a model, and release it if it is no worse than the version in force.

    Examples:  MODEL_WEIGHTS_FILE=mobilenet_v2.h5 enrich train --collection DIR --recipe default --name museum  ·
    enrich train --collection DIR --recipe cleo_vgg19 --backbone MobileNetV2 --name cleo
    """
    from pipeline.training.steps import train as train_model

    settings = Settings()
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)  # before the work: a folder that cannot be made is said at once
    trained = train_model(collection, recipe, name, settings=settings, now=datetime.now(UTC), again=again, backbone=backbone)
    try:
        show_trained(trained, out)
    finally:  # a version that is refused has a report, too
        if report is not None:
            from pipeline.training.evaluation_report import report_held_out

            try:
                written = report_held_out(name, trained.bundle.version, collection, report, settings=settings)
                where = f"the evaluation is {report / 'index.html'}" if written else "no picture is held out to be evaluated"
            except (EnrichmentError, OSError) as problem:  # what became of the version goes before
                where = f"the evaluation could not be written: {problem}"
            out.print(where, markup=False, highlight=False, soft_wrap=True)
    if engines and not trained.known:
        from pipeline.training.serving import choose_engine

        try:
            show_engines(*choose_engine(name, trained.bundle.version, collection, settings=settings), out)
        except CriticalError as problem:  # the version is there all the same, and Keras serves
            out.print(f"engines were not tried: {problem}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def stage(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(STAGES)}, report, or all.")],
    run: Annotated[str, typer.Option(help="The run's key, as `enrich start` printed it.")],
) -> None:
    """Do a stage of a run, batch by batch, as its DAG would.

    Example:  enrich stage all --run runs/run=try/run.json
    """
    from pipeline.cli.stages import run_stage

    for stage_name in (*STAGES, "report") if name == "all" else (name,):
        print(run_stage(stage_name, run, Settings()))


@app.command()
def web(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option()] = 8091,
) -> None:
    """Serve the portal API and the pages: records, labels, related images, run reports.

    Example:  enrich web --port 8091
    """
    import uvicorn

    from pipeline.web import create_app

    uvicorn.run(create_app(Settings()), host=host, port=port, log_level="warning")


@app.command()
def up(
    collection: Annotated[Path | None, typer.Option(help="Serve this folder instead of the built-in collection.")] = None,
    port: Annotated[int, typer.Option(help="The sandbox's port.")] = 8090,
) -> None:
    """Airflow's UI, the sandbox and the web app on this machine, until Ctrl-C; nothing runs before you say so.

    Example:  enrich up
    """
    from pipeline.cli.local_run import LocalRun

    LocalRun(Settings.from_environment_alone(), collection=collection, port=port, date="", dry_run=False).up()


@sandbox.command("serve")
def sandbox_serve(
    collection: Annotated[Path | None, typer.Option(help="A collection folder; without it, the built-in one is made.")] = None,
    records: Annotated[int | None, typer.Option(help="So many records, computed from the collection's.", min=1)] = None,
    port: Annotated[int, typer.Option()] = 8090,
    host: Annotated[str, typer.Option(help="The address of the APIs.")] = "127.0.0.1",
    base_url: Annotated[str, typer.Option(help="The address that links name, where it is not http://HOST:PORT.")] = "",
    image_hosts: Annotated[str, typer.Option(help="Addresses that serve pictures, comma separated.")] = "127.0.0.2,127.0.0.3",
    state_dir: Annotated[Path | None, typer.Option(help="Where the state is kept; without it, var/sandbox.")] = None,
    key: Annotated[str, typer.Option(help="The API key that the servers accept.")] = "sandbox",
    quota: Annotated[int | None, typer.Option(help="Requests per window; none: unlimited.")] = None,
    annotation_quota: Annotated[int | None, typer.Option(help="The same for the Annotation API.")] = None,
    quota_window: Annotated[int, typer.Option(help="Length of the quota's window in seconds.", min=1)] = 3600,
    index_lag: Annotated[float, typer.Option(help="Seconds until a new annotation can be found by search.")] = 0.0,
    profile: Annotated[str, typer.Option(help="Faults from the start: calm, flaky (2 %) or hostile (10 %).")] = "calm",
    seed: Annotated[int, typer.Option(help="Decides which requests the faults hit.")] = 1,
    error_format: Annotated[str, typer.Option(help="Error bodies of the Annotation API: 2024 or 2026.")] = "2024",
    no_auth: Annotated[bool, typer.Option("--no-auth", help="The Annotation API takes its fake test tokens.")] = False,
) -> None:
    """Serve the stand-ins until interrupted, and print commands to try them with; see docs/sandbox.md.

    Example:  enrich sandbox serve --port 8090 --quota 100 --quota-window 60 --profile flaky
    """
    from pipeline.cli.local_run import builtin_collection
    from pipeline.cli.sandbox import serve_sandbox
    from pipeline.sandbox.options import SandboxOptions

    settings = Settings()
    serve_sandbox(
        SandboxOptions(
            collection=collection or builtin_collection(settings),
            state_dir=state_dir or settings.var_dir / "sandbox",
            vocabulary_path=settings.vocabulary_file,
            base_url=base_url,
            host=host,
            port=port,
            key=key,
            image_hosts=tuple(part.strip() for part in image_hosts.split(",") if part.strip()),
            quota=quota,
            annotation_quota=annotation_quota,
            quota_window_s=quota_window,
            index_lag_s=index_lag,
            records=records,
            profile=profile,
            seed=seed,
            error_format=error_format,
            auth_disabled=no_auth,
        )
    )

"""What the form of the DAG `train_model` asks for. The steps hand on plain values: names, numbers, texts."""

import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pipeline.database import connect, models
from pipeline.errors import CriticalError
from pipeline.settings import Settings
from pipeline.training.assemble import build_dataset
from pipeline.training.evaluation_report import report_held_out
from pipeline.training.noise_report import report_noise
from pipeline.training.serving import choose_engine
from pipeline.training.steps import train


def dataset_of_form(*, form: Mapping[str, Any], run_id: str, now: datetime, settings: Settings) -> str:
    """The folder to train on: the form's collection, or with `sources` a dataset below VAR_DIR/datasets, built once a run.

    Raises CriticalError when the form names neither, and as `build_dataset` does.
    """
    named = (form["collection"] or "").strip()
    collections = [Path(named)] if named else []
    if not form["sources"]:
        if not collections:
            raise CriticalError("say which folder has the pictures and metadata.csv (collection), or name sources")
        return named
    folder = settings.var_dir / "datasets" / _word(run_id)
    if not (folder / "card.md").exists():  # it is the last file that is written
        shutil.rmtree(folder, ignore_errors=True)
        build_dataset(collections, folder, settings=settings, now=now, sources=form["sources"], pictures=["lake"])
    return str(folder)


def report_noise_of_form(*, collection: str, form: Mapping[str, Any], run_id: str, settings: Settings) -> str:
    """The label-noise report below VAR_DIR/noise; returns its folder, or nothing where the form does not want one."""
    if not form["noise_report"]:
        return ""
    folder = settings.var_dir / "noise" / _word(run_id)
    return str(report_noise(Path(collection), form["recipe"], folder, settings=settings).folder)


def train_from_form(*, collection: str, form: Mapping[str, Any], now: datetime, settings: Settings) -> dict[str, Any]:
    """Train, register, release if the gate lets it pass: {name, version, released, known, refusal}."""
    trained = train(Path(collection), form["recipe"], form["name"], settings=settings, now=now, again=form["again"])
    bundle, verdict = trained.bundle, trained.verdict
    refusal = models.refusal(bundle.name, bundle.version, verdict.reasons) if verdict and not verdict.allowed else ""
    found = {"name": bundle.name, "version": bundle.version, "released": trained.released, "known": trained.known}
    return {**found, "refusal": refusal}


def follow_up(*, collection: str, form: Mapping[str, Any], trained: Mapping[str, Any], settings: Settings) -> dict[str, str]:
    """What the form wants beside the version: {evaluation: folder of its page, engine: what will serve, or why not}."""
    done = {"evaluation": "not wanted", "engine": "not wanted"}
    name, version = trained["name"], trained["version"]
    if form["engines"] and trained["released"] and not trained["known"]:
        try:
            done["engine"] = choose_engine(name, version, Path(collection), settings=settings)[1].tried.chosen
        except CriticalError as problem:  # the version is in force all the same, and Keras serves
            done["engine"] = f"keras, others were not tried: {problem}"
    if form["evaluation"]:
        folder = settings.var_dir / "evaluations" / f"{name}-{version}"
        written = report_held_out(name, version, Path(collection), folder, settings=settings)
        done["evaluation"] = str(folder) if written else "no picture is held out"
    return done


def overrule(*, trained: Mapping[str, Any], answer: Mapping[str, Any], settings: Settings) -> str:
    """Release a refused version on somebody's word, as Airflow's human-in-the-loop operator hands it on.

    Raises CriticalError when nobody said why.
    """
    why = str((answer.get("params_input") or {}).get("why") or "").strip()
    if not why:
        raise CriticalError("the answer says to release the version, but not why; its form has a field for that")
    who = (answer.get("responded_by_user") or {}).get("name") or "unknown"
    models.release(connect(settings), trained["name"], trained["version"], override={"by": str(who), "why": why})
    return f"{trained['name']} {trained['version']} is released on the word of {who}"


def _word(run_id: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in run_id)

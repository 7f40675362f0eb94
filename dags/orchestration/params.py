"""Params: they make the trigger form, and Airflow checks them before a run starts."""

from airflow.sdk import Param

from pipeline.harvest.sources import FREE

LIMITS = {
    "max_records": Param(
        None, type=["null", "integer"], minimum=1, description="Stop after so many records; a later run goes on."
    ),
    "max_requests": Param(None, type=["null", "integer"], minimum=1, description="Stop after so many requests to the API."),
    "max_hours": Param(None, type=["null", "number"], exclusiveMinimum=0, description="Stop harvesting after so many hours."),
}

COMMON = {
    **LIMITS,
    "again": Param(False, type="boolean", description="Harvest windows anew that are done."),
    "dry_run": Param(False, type="boolean", description="Do everything but send: nothing leaves the house."),
}

FEEDBACK = {
    "file": Param(
        "",
        type="string",
        description="An export that the workers can read.",
        examples=["/var/lib/enrichment/campaign.json"],
    ),
    "kind": Param(
        "crowdheritage", type="string", enum=["crowdheritage", "zooniverse", "label-studio"], description="What it comes from."
    ),
    "accept": Param(
        "majority",
        type="string",
        pattern=r"^(majority|platform|dawid-skene|net:[1-9]\d*)$",
        description="When a tag is accepted: majority, net:N, platform or dawid-skene.",
    ),
    "campaign": Param(
        "", type="string", description="Exports of one campaign follow each other; those of several stand beside each other."
    ),
    "labels": Param("", type="string", description="A CSV label,concept: what labels mean that the vocabulary does not have."),
    "min_votes": Param(
        None, type=["null", "integer"], minimum=1, description="So many votes decide; zooniverse takes 3, other kinds 1."
    ),
    "dry_run": Param(False, type="boolean", description="Read and count, write nothing."),
    "propose_thresholds": Param(True, type="boolean", description="Propose thresholds from all votes afterwards."),
}


def collection(sources):
    """The form of `enrich_collection`: a source or a free selection, which part of it, and how far."""
    return {
        "source": Param("", type="string", enum=["", *sorted(sources)], description="A source of vocab/sources, or none."),
        "kind": Param(
            "dataset",
            type="string",
            enum=[*FREE],
            description="Without a source: how the records are named below.",
        ),
        "value": Param(
            "",
            type="string",
            description="A dataset number, a query, concept URIs that must all hold, an id or a folder.",
            examples=["2021650", "*:*", "http://data.europeana.eu/concept/47"],
        ),
        "ids": Param([], type="array", items={"type": "string"}, description="Only these record ids, one a line."),
        "since": Param(None, type=["null", "string"], format="date-time", description="Only what changed from then on."),
        "until": Param(None, type=["null", "string"], format="date-time", description="End of that window, not included."),
        "estimate_only": Param(
            False, type="boolean", description="Write into the log what it would take, and stop: no harvest, no download."
        ),
        **COMMON,
    }


def training(recipes_dir):
    """The form of `train_model`: which pictures, how, and under which name."""
    recipes = sorted(path.stem for path in recipes_dir.glob("*.yaml"))
    return {
        "collection": Param(
            "",
            type="string",
            description="A folder with pictures and metadata.csv that the workers can read.",
            examples=["/var/lib/enrichment/collection"],
        ),
        "sources": Param(
            [],
            type="array",
            items={"type": "string", "pattern": "^[a-z-]+:."},
            description="Other labelled data, KIND:PATH each (docs/datasets.md); with the collection they become one dataset.",
            examples=[["run:maps-and-coins", "label-studio:/var/lib/enrichment/export.json"]],
        ),
        "recipe": Param("small", type="string", enum=recipes, description="A recipe of vocab/recipes."),
        "name": Param("default", type="string", minLength=1, pattern=r"^\w[\w.-]*$", description="The model's name."),
        "again": Param(False, type="boolean", description="Train even if this very data and recipe have a released model."),
        "noise_report": Param(True, type="boolean", description="First report which labels are probably wrong."),
        "evaluation": Param(True, type="boolean", description="Then write the evaluation of the held-out pictures, a page."),
        "engines": Param(True, type="boolean", description="Then try what runs the released version fastest."),
    }


APPROVAL = {
    "run": Param("", type="string", description="The run's id.", examples=["default-2026-01-01T0000"]),
    "samples": Param(20, type="integer", minimum=1, maximum=200, description="So many statements are shown, drawn from all."),
}

WITHDRAWAL = {
    "model": Param("", type="string", description="Statements of this model …"),
    "version": Param("", type="string", description="… and of this version of it."),
    "concept": Param("", type="string", description="Of this concept: its slug or its URI."),
    "provider": Param("", type="string", description="On records of this institution, or of this aggregator."),
    "record": Param("", type="string", description="On this record.", examples=["/2021650/abc"]),
    "run": Param("", type="string", description="Made by this run.", examples=["default-2026-01-01T0000"]),
    "why": Param("", type="string", description="The reason; it is kept with each statement."),
}

"""Params: they make the trigger form, and Airflow checks them before a run starts."""

from airflow.sdk import Param

COMMON = {
    "limit": Param(None, type=["null", "integer"], minimum=1, description="Take at most so many records; empty takes all."),
    "dry_run": Param(False, type="boolean", description="Do everything but send: nothing leaves the house."),
}

COLLECTION = {
    "kind": Param(
        "dataset", type="string", enum=["dataset", "query", "concept"], description="How the collection is named below."
    ),
    "value": Param(
        "",
        type="string",
        description="A dataset number, a query in the API's own language, or a concept URI.",
        examples=["2021650"],
    ),
    "ids": Param([], type="array", items={"type": "string"}, description="Or just these record ids, one a line."),
    **COMMON,
}

"""The pipeline's side in a process of its own: `python -m tests.benchmarks.for_images.child <command> <answer> …`.

`prepare` starts a run with a record for each address; `download` plans and does all batches, which is what is measured,
so it imports nothing else; `publish` checks and publishes, and tells what became of the pictures. Each writes its answer
as JSON into the file `answer`. The settings are the environment's.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pipeline.settings import Settings

SOURCE = "pictures"
RECORDS_PER_PART = 10_000


def prepare(settings: Settings, night: str, addresses: str) -> dict[str, Any]:
    """Write the run of a night (its date is its name, too) and its records, one for each line of the file `addresses`."""
    from datetime import UTC, datetime

    from pipeline.database.connection import connect
    from pipeline.datasets.lake import open_lake
    from pipeline.datasets.schemas import RECORDS
    from pipeline.datasets.stage import groups_of
    from pipeline.domain.harvest_rules import HarvestRules
    from pipeline.domain.scope import Scope, Selection
    from pipeline.harvest.rows import record_table
    from pipeline.harvest.steps import start_run

    connect(settings)  # its tables are made once in a database's life
    key = start_run(
        run_id=night,
        source=SOURCE,
        scope=Scope("full"),
        created_at=datetime.fromisoformat(night).replace(tzinfo=UTC),
        settings=settings,
        selection=Selection("query", "*:*"),
        rules=HarvestRules(),
    )
    lake = open_lake(settings)
    run = lake.run(key)
    records = (_record(number, url) for number, url in enumerate(Path(addresses).read_text().split()))
    parts = [
        lake.write_part(run, "records", number, [record_table(group, run)], RECORDS)
        for number, group in enumerate(groups_of(records, RECORDS_PER_PART))
    ]
    lake.publish(run, "records", parts)
    return {"run": key}


def _record(number: int, url: str) -> Any:
    from pipeline.domain.record import MediaFile, Record

    rights = "http://creativecommons.org/publicdomain/zero/1.0/"
    return Record(
        record_id=f"/1/p{number:06d}",
        dataset_id="1",
        title=f"Picture {number}",
        media_type="IMAGE",
        provider="A provider",
        data_provider="A museum",
        rights=rights,
        rights_category="open",
        record_rights=rights,
        image_url=url,
        image_urls=(url,),
        media=(MediaFile(url, rights, "open"),),
    )


def download(settings: Settings, run: str) -> dict[str, Any]:
    """The image stage without its publication."""
    from pipeline.images.steps import download_batch, plan_downloads

    return {"results": [download_batch(batch, settings=settings) for batch in plan_downloads(run, settings=settings)]}


def publish(settings: Settings, run: str, results: str) -> dict[str, Any]:
    """Publish, then count rows, what is wrong with them, and the shards of all runs so far."""
    from collections import Counter

    from pipeline.datasets.lake import open_lake
    from pipeline.images.steps import publish_images

    publish_images(run, json.loads(results), settings=settings)
    lake = open_lake(settings)
    columns = ["reason", "shard_uri"]
    rows = [row for batch in lake.rows(lake.run(run), "images", columns) for row in batch.to_pylist()]
    wrong = Counter(row["reason"] or "no picture stored" for row in rows if row["reason"] or not row["shard_uri"])
    return {
        "rows": len(rows),
        "wrong": wrong,
        "shards": sorted(key for key in lake.store.list("shards/") if key.endswith(".tar")),
    }


def main() -> None:
    """Do one command."""
    name, answer, *arguments = sys.argv[1:]
    command = {"prepare": prepare, "download": download, "publish": publish}[name]
    Path(answer).write_text(json.dumps(command(Settings.from_environment_alone(), *arguments)))


if __name__ == "__main__":
    main()

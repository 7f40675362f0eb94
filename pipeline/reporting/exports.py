"""What people take away from a run: label and suggestion tables as CSV and Parquet, annotations as JSON lines."""

import json
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pipeline.datasets.lake import Lake
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import LABELS, SUGGESTIONS
from pipeline.domain.annotation import annotation_errors, run_page, tag_annotation
from pipeline.domain.identifiers import ITEM_BASE, is_item
from pipeline.domain.label import Decision
from pipeline.errors import PoisonedResultError
from pipeline.settings import Settings
from pipeline.vocabulary import Vocabulary

LICENCE = "http://creativecommons.org/publicdomain/zero/1.0/"  # labels are statements of ours: CC0


def write_exports(lake: Lake, run: Run, folder: Path, vocabulary: Vocabulary, settings: Settings) -> list[str]:
    """Write every export of a run into a folder and return the file names; memory does not grow with the run."""
    languages = [language.strip() for language in settings.label_language.split(",") if language.strip()]
    _write_parquet(folder / "labels.parquet", lake.rows(run, "labels"), LABELS)
    labels = chain([_empty(LABELS)], lake.rows(run, "labels"))
    _write_csv(folder / "labels.csv", (_label_cells(batch, vocabulary, languages) for batch in labels))
    _write_parquet(folder / "suggestions.parquet", lake.rows(run, "suggestions"), SUGGESTIONS)
    suggestions = chain([_empty(SUGGESTIONS)], lake.rows(run, "suggestions"))
    _write_csv(folder / "suggestions.csv", map(_suggestion_cells, suggestions))
    _write_annotations(folder / "annotations.jsonl", lake, run, settings)
    (folder / "LICENCE.txt").write_text(f"All files in this folder: {LICENCE}\n", encoding="utf-8")
    return sorted(path.name for path in folder.iterdir())


def _write_parquet(path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> None:
    schema = schema.with_metadata({**(schema.metadata or {}), b"licence": LICENCE.encode()})
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_batches([batch]).replace_schema_metadata(schema.metadata))


def _write_csv(path: Path, tables: Iterator[pa.Table]) -> None:
    """RFC 4180 in UTF-8; every text is quoted, so that no reader has to guess."""
    first = next(tables)
    with pacsv.CSVWriter(path, first.schema) as writer:
        for table in chain([first], tables):
            writer.write_table(table)


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    """No rows but all columns: a run without labels still has a CSV with a header."""
    return pa.RecordBatch.from_pylist([], schema=schema)


def _label_cells(batch: pa.RecordBatch, vocabulary: Vocabulary, languages: Sequence[str]) -> pa.Table:
    """The hand-over columns (interfaces: labels.csv); what was dropped stays in the Parquet."""
    table = pa.Table.from_batches([batch]).filter(pc.field("decision") != Decision.DROP)
    slugs = table["label"].to_pylist()
    columns = {
        "category": table["label"],
        "skos_concept": table["concept_uri"],
        "URI": pc.binary_join_element_wise(ITEM_BASE, table["record_id"], ""),
        "ID": table["record_id"],
        "URL": table["image_url"],
        "score": pc.round(table["score"].cast(pa.float64()), 4),
        "decision": table["decision"],
        "model": pc.binary_join_element_wise(table["model_name"], table["model_version"], "@"),
    }
    labels = {
        f"label_{language}": pa.array([vocabulary.by_slug[slug].label(language) for slug in slugs], pa.string())
        for language in languages
    }
    return pa.table(columns | labels)


def _suggestion_cells(batch: pa.RecordBatch) -> pa.Table:
    table = pa.Table.from_batches([batch])
    return pa.table(
        {
            "record_id": table["record_id"],
            "related_record_id": table["related_record_id"],
            "rank": table["rank"],
            "score": pc.round(table["score"].cast(pa.float64()), 4),
            "visual_similarity": pc.round(table["visual_similarity"].cast(pa.float64()), 4),
            "shared_concepts": _joined(table["shared_concepts"]),
            "reasons": _joined(table["reasons"]),
        }
    )


def _joined(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    """Lists of texts as one text each, `;` between."""
    return pc.binary_join(lists.cast(pa.list_(pa.string())), ";")


def _write_annotations(path: Path, lake: Lake, run: Run, settings: Settings) -> None:
    """Our W3C documents, one a line; PoisonedResultError when one of them is not a Web Annotation."""
    with path.open("w", encoding="utf-8") as handle:
        for batch in lake.rows(run, "annotations"):
            for row in batch.to_pylist():
                if not is_item(row["record_id"]):  # refused: no annotation can point to it
                    continue
                document = annotation_document(row, settings)
                if errors := annotation_errors(document):
                    raise PoisonedResultError(f"the annotation of {row['record_id']} is not W3C: {'; '.join(errors)}")
                handle.write(json.dumps(document, ensure_ascii=False) + "\n")


def annotation_document(row: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """A row of the `annotations` dataset as the document that was, or would be, sent."""
    return tag_annotation(
        record_id=row["record_id"],
        concept_uri=row["concept_uri"],
        body_uri=row["body_uri"],
        target=row["target"],
        created=row["stated_at"],
        run_page=run_page(settings.public_base_url, row["stated_by_run"]),
        remote_id=row["remote_id"],
    )

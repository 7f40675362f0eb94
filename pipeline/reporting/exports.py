"""What people take away from a run: labels and suggestions as CSV and Parquet, annotations as JSON lines and as EDM."""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from pipeline.database.ledger import NOT_STATED
from pipeline.datasets.lake import Lake, parquet_writer
from pipeline.datasets.run import Run
from pipeline.datasets.schemas import LABELS, SUGGESTIONS
from pipeline.datasets.stage import groups_of
from pipeline.domain.annotation import annotation_errors, run_page, tag_annotation
from pipeline.domain.identifiers import ITEM_BASE, is_item
from pipeline.domain.label import Decision
from pipeline.errors import PoisonedResultError
from pipeline.reporting.edm import write_enrichments
from pipeline.settings import Settings
from pipeline.vocabulary import Vocabulary

LICENCE = "http://creativecommons.org/publicdomain/zero/1.0/"  # labels are statements of ours: CC0
BATCHES_TOGETHER = 8  # of the lake's batches in a row group: 131,072 rows
_FORMULA = "^[=+\\-@\t\r\n]"


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
    write_enrichments(folder / "enrichments.rdf", _stated(lake, run), vocabulary, licence=LICENCE)
    (folder / "LICENCE.txt").write_text(f"All files in this folder: {LICENCE}\n", encoding="utf-8")
    return sorted(path.name for path in folder.iterdir())


def _write_parquet(path: Path, batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> None:
    schema = schema.with_metadata({**(schema.metadata or {}), b"licence": LICENCE.encode()})
    with parquet_writer(path, schema) as writer:
        for group in groups_of(batches, BATCHES_TOGETHER):
            writer.write_table(pa.Table.from_batches(group).replace_schema_metadata(schema.metadata))


def _write_csv(path: Path, tables: Iterator[pa.Table]) -> None:
    """RFC 4180 in UTF-8; every text is quoted, so that no reader has to guess. One table is made while another is written."""
    first = next(tables)
    with _WithCarriageReturns(path) as file, pacsv.CSVWriter(pa.PythonFile(file, "w"), first.schema) as writer:
        for table in _ahead(chain([first], tables)):
            writer.write_table(table)


def _ahead(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, tables, None)
        while (table := coming.result()) is not None:
            coming = thread.submit(next, tables, None)
            yield table


class _WithCarriageReturns(io.RawIOBase):
    """A file whose lines end with CR and LF, as RFC 4180 has it; pyarrow writes LF alone."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._file.write(bytes(content).replace(b"\n", b"\r\n"))
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    """No rows but all columns: a run without labels still has a CSV with a header."""
    return pa.RecordBatch.from_pylist([], schema=schema)


def _label_cells(batch: pa.RecordBatch, vocabulary: Vocabulary, languages: Sequence[str]) -> pa.Table:
    """The hand-over columns (docs/labels.md); rows that earlier versions dropped stay in the Parquet."""
    table = pa.Table.from_batches([batch])
    kept = pc.not_equal(table["decision"], str(Decision.DROP))
    if not pc.all(kept).as_py():
        table = table.filter(kept)
    slugs = table["label"].combine_chunks().dictionary_encode()
    concepts = [vocabulary.by_slug[slug] for slug in slugs.dictionary.to_pylist()]

    def of_concepts(values: Iterable[str]) -> pa.ChunkedArray:
        return _safe(pa.array(values, pa.string())).take(slugs.indices)

    columns = {
        "category": of_concepts(concept.slug for concept in concepts),
        "skos_concept": _safe(table["concept_uri"]),
        "URI": pc.binary_join_element_wise(ITEM_BASE, table["record_id"], ""),
        "ID": _safe(table["record_id"]),
        "URL": _safe(table["image_url"]),
        "score": pc.round(table["score"].cast(pa.float64()), 4),
        "decision": table["decision"],
        "model": _safe(pc.binary_join_element_wise(table["model_name"], table["model_version"], "@")),
    }
    labels = {f"label_{language}": of_concepts(concept.label(language) for concept in concepts) for language in languages}
    return pa.table(columns | labels)


def _safe(texts: Any) -> Any:
    """The column, with an apostrophe before what a spreadsheet would take for a formula (OWASP: CSV injection)."""
    usual = pc.or_(pc.starts_with(texts, "http"), pc.starts_with(texts, "/"))  # four times as quick to tell
    if pc.all(usual).as_py():
        return texts
    return pc.if_else(pc.match_substring_regex(texts, _FORMULA), pc.binary_join_element_wise("'", texts, ""), texts)


def _suggestion_cells(batch: pa.RecordBatch) -> pa.Table:
    table = pa.Table.from_batches([batch])
    return pa.table(
        {
            "record_id": _safe(table["record_id"]),
            "related_record_id": _safe(table["related_record_id"]),
            "rank": table["rank"],
            "score": pc.round(table["score"].cast(pa.float64()), 4),
            "visual_similarity": pc.round(table["visual_similarity"].cast(pa.float64()), 4),
            "shared_concepts": _safe(_joined(table["shared_concepts"])),
            "reasons": _safe(_joined(table["reasons"])),
        }
    )


def _joined(lists: pa.ChunkedArray) -> pa.ChunkedArray:
    """Lists of texts as one text each, `;` between."""
    return pc.binary_join(lists.cast(pa.list_(pa.string())), ";")


def _write_annotations(path: Path, lake: Lake, run: Run, settings: Settings) -> None:
    """Our W3C documents, one a line; PoisonedResultError when one of them is not a Web Annotation."""
    with path.open("w", encoding="utf-8") as handle:
        for row in _stated(lake, run):
            document = annotation_document(row, settings)
            if errors := annotation_errors(document):
                raise PoisonedResultError(f"the annotation of {row['record_id']} is not W3C: {'; '.join(errors)}")
            handle.write(json.dumps(document, ensure_ascii=False) + "\n")


def _stated(lake: Lake, run: Run) -> Iterator[dict[str, Any]]:
    """The rows of `annotations` that we stand by: not what was held back, taken back, or removed by somebody else.

    Neither those of records that no annotation can point to; what a dry run would send is among them.
    """
    for batch in lake.rows(run, "annotations"):
        yield from (row for row in batch.to_pylist() if row["state"] not in NOT_STATED and is_item(row["record_id"]))


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

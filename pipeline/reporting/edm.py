"""The published labels as EDM metadata in RDF/XML: the only way into Europeana that carries a score.

Aggregation (Metis) reads `edm:wasGeneratedBy` and `edm:confidenceLevel` (decimal, 0 to 1) as attributes on statements
about the object and keeps such statements apart from the provider's own (annotation contract §5.6).
"""

from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from pipeline.domain.identifiers import item_uri
from pipeline.vocabulary import Concept, Vocabulary

NAMESPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "dc": "http://purl.org/dc/elements/1.1/",
    "dcterms": "http://purl.org/dc/terms/",
    "edm": "http://www.europeana.eu/schemas/edm/",
    "skos": "http://www.w3.org/2004/02/skos/core#",
}
_PROPERTIES = {"type": "dc:type", "material": "dcterms:medium", "subject": "dc:subject"}  # by kind of concept


def write_enrichments(path: Path, rows: Iterable[Mapping[str, Any]], vocabulary: Vocabulary, *, licence: str) -> None:
    """Write one object a line, in the order of `rows` (of the dataset `annotations`, a record's together), then its concepts.

    A line is whole in itself, so that a record can be taken out of the file. Memory does not grow with the rows.
    """
    said: dict[str, Concept | None] = {}  # by body URI; None: the vocabulary does not have it any more
    with path.open("w", encoding="utf-8") as handle:
        spaces = "".join(f" xmlns:{prefix}={quoteattr(uri)}" for prefix, uri in NAMESPACES.items())
        handle.write(f'<?xml version="1.0" encoding="UTF-8"?>\n<rdf:RDF{spaces}>\n<!-- Licence: {licence} -->\n')
        for record_id, group in groupby(rows, key=lambda row: str(row["record_id"])):
            statements = []
            for row in group:
                concept = said[row["body_uri"]] = vocabulary.resolve(row["body_uri"])
                statements.append(_statement(concept, row["body_uri"], row["score"]))
            handle.write(
                f"<edm:ProvidedCHO rdf:about={quoteattr(item_uri(record_id))}>{''.join(statements)}</edm:ProvidedCHO>\n"
            )
        handle.writelines(_description(uri, said[uri]) for uri in sorted(said))
        handle.write("</rdf:RDF>\n")


def _statement(concept: Concept | None, uri: str, score: float) -> str:
    name = _PROPERTIES.get(concept.kind if concept else "", "dc:subject")
    return f'<{name} rdf:resource={quoteattr(uri)} edm:wasGeneratedBy="SoftwareAgent" edm:confidenceLevel="{score:.4f}"/>'


def _description(uri: str, concept: Concept | None) -> str:
    names = concept.labels if concept else {}
    labels = "".join(
        f"<skos:prefLabel xml:lang={quoteattr(language)}>{escape(text)}</skos:prefLabel>"
        for language, text in sorted(names.items())
    )
    return f"<skos:Concept rdf:about={quoteattr(uri)}>{labels}</skos:Concept>\n"

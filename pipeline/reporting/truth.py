"""What a collection's row says about a picture: true, false or unknown for each concept."""

from collections.abc import Sequence

from pipeline.collection import Collection, CollectionRow
from pipeline.vocabulary import Vocabulary


def unknown_concepts(collection: Collection, vocabulary: Vocabulary) -> list[str]:
    """One message for each value that the vocabulary does not know, with the first line that has it."""
    first: dict[str, int] = {}
    for row in collection.rows:
        for value in row.concepts:
            if vocabulary.resolve(value) is None:
                first.setdefault(value, row.line)
    path = collection.folder / "metadata.csv"
    return [
        f"{path} line {line}: the concept {value!r} is not in the vocabulary; the label is dropped, the row is kept."
        for value, line in first.items()
    ]


def known_labels(row: CollectionRow, vocabulary: Vocabulary) -> tuple[set[str], set[str]]:
    """(slugs that are true, slugs or kinds that nobody checked) of a row; what is true of a concept is of its broader ones."""
    said = vocabulary.with_broader(concept.slug for value in row.concepts if (concept := vocabulary.resolve(value)))
    unknown = set(row.not_annotated) | {concept.slug for value in row.not_annotated if (concept := vocabulary.resolve(value))}
    return said, unknown - said


def label_row(row: CollectionRow, vocabulary: Vocabulary, slugs: Sequence[str]) -> list[int]:
    """1 for what the row says, -1 for what nobody checked (`material` stands for all `material:*`), else 0."""
    said, unknown = known_labels(row, vocabulary)

    def value(slug: str) -> int:
        if slug in said:
            return 1
        return -1 if slug in unknown or (":" in slug and slug.partition(":")[0] in unknown) else 0

    return [value(slug) for slug in slugs]

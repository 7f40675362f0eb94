"""What a collection's row says about a picture: true, false or unknown for each concept."""

from collections.abc import Sequence

from pipeline.collection import CollectionRow
from pipeline.vocabulary import Vocabulary


def known_labels(row: CollectionRow, vocabulary: Vocabulary) -> tuple[set[str], set[str]]:
    """(slugs that are true, slugs or kinds that nobody checked) of a row."""
    said = {concept.slug for value in row.concepts if (concept := vocabulary.resolve(value))}
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

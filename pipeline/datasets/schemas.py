"""The pyarrow schema of every dataset, with its version. A change of columns raises the version."""

from collections.abc import Mapping

import pyarrow as pa

_TEXT = pa.string()
_TEXTS = pa.list_(pa.field("item", pa.string(), nullable=False))
_BY_LANGUAGE = pa.map_(pa.string(), _TEXTS)
_TIME = pa.timestamp("ms", tz="UTC")
_MEDIA = pa.list_(
    pa.field(
        "item",
        pa.struct(
            [
                pa.field("url", pa.string(), nullable=False),
                pa.field("rights", pa.string(), nullable=False),
                pa.field("rights_category", pa.string(), nullable=False),
                pa.field("mime", pa.string()),
                pa.field("width_px", pa.int32()),
                pa.field("height_px", pa.int32()),
                pa.field("size_bytes", pa.int64()),
                pa.field("iiif_service", pa.string()),
            ]
        ),
        nullable=False,
    )
)


def _schema(version: int, **columns: pa.DataType | tuple[pa.DataType]) -> pa.Schema:
    """A one-tuple marks a nullable column; everything else must be there."""
    fields = [
        pa.field(name, kind[0] if isinstance(kind, tuple) else kind, nullable=isinstance(kind, tuple))
        for name, kind in columns.items()
    ]
    return pa.schema(fields, metadata={"schema_version": str(version)})


_RUN = {"run_id": _TEXT, "created_at": _TIME}
_MODEL = {
    "model_name": _TEXT,
    "model_version": _TEXT,
    "model_sha256": _TEXT,
    "preprocessing_version": _TEXT,
    "vocabulary_version": _TEXT,
}

RECORDS = _schema(
    2,
    record_id=_TEXT,
    dataset_id=_TEXT,
    title=_TEXT,
    titles=_BY_LANGUAGE,
    descriptions=_BY_LANGUAGE,
    creators=_TEXTS,
    creator_names=_BY_LANGUAGE,
    subjects=_BY_LANGUAGE,
    types=_BY_LANGUAGE,
    year=(pa.int32(),),
    media_type=_TEXT,
    concept_uris=_TEXTS,
    concept_labels=_BY_LANGUAGE,
    provider=_TEXT,
    data_provider=_TEXT,
    dataset_name=_TEXT,
    country=_TEXT,
    languages=_TEXTS,
    rights=_TEXT,
    rights_category=_TEXT,
    record_rights=_TEXT,
    image_url=(_TEXT,),
    image_urls=_TEXTS,
    media=_MEDIA,
    thumbnail_url=(_TEXT,),
    landing_url=(_TEXT,),
    updated_at=(_TIME,),
    **_RUN,
)

IMAGES = _schema(
    2,
    record_id=_TEXT,
    image_url=_TEXT,
    position=pa.int32(),  # of the image among the record's; the thumbnail comes after them
    fetched_as=_TEXT,  # original, iiif (a smaller rendition), thumbnail (Europeana's)
    host=_TEXT,
    image_id=(_TEXT,),
    outcome=_TEXT,
    reason=(_TEXT,),
    detail=_TEXT,
    status=(pa.int32(),),
    final_url=(_TEXT,),
    mime=(_TEXT,),
    width_px=(pa.int64(),),
    height_px=(pa.int64(),),
    size_bytes=(pa.int64(),),
    perceptual_hash=(_TEXT,),
    etag=(_TEXT,),
    last_modified=(_TEXT,),
    attempts=pa.int32(),
    provider=_TEXT,
    rights=_TEXT,
    rights_category=_TEXT,
    shard_uri=(_TEXT,),  # relative to the lake's root, so that a lake can be moved
    shard_offset=(pa.int64(),),
    shard_size=(pa.int32(),),
    original_uri=(_TEXT,),  # with KEEP_ORIGINALS: the bytes as received, in a shard of their own
    original_offset=(pa.int64(),),
    original_size=(pa.int32(),),
    **_RUN,
)

NEAR_DUPLICATES = _schema(
    1,
    image_id=_TEXT,
    near_image_id=_TEXT,
    distance=pa.int32(),  # bits of the perceptual hash that differ
    **_RUN,
)

LINK_CHECKS = _schema(
    1,
    record_id=_TEXT,
    image_url=_TEXT,
    host=_TEXT,
    state_before=_TEXT,
    state=_TEXT,
    changed=pa.bool_(),  # another picture than the one that we have
    reason=(_TEXT,),
    detail=_TEXT,
    status=(pa.int32(),),
    final_url=(_TEXT,),
    **_RUN,
)

LABELS = _schema(
    1,
    record_id=_TEXT,
    image_id=_TEXT,
    image_url=_TEXT,
    concept_uri=_TEXT,
    label=_TEXT,
    score=pa.float32(),
    raw_score=pa.float32(),
    threshold=(pa.float32(),),
    decision=_TEXT,
    why=_TEXT,
    rank=pa.int32(),
    provider=_TEXT,
    **_MODEL,
    **_RUN,
)

RECORD_LABELS = _schema(
    1,
    record_id=_TEXT,
    concept_uri=_TEXT,
    label=_TEXT,
    max_score=pa.float32(),
    mean_score=pa.float32(),
    image_id=_TEXT,
    images=pa.int32(),
    decision=_TEXT,
    why=_TEXT,
    **_MODEL,
    **_RUN,
)

# How the calibrated scores are spread: images by interval of the score, each interval from `score_from` up to `score_to`.
SCORE_HISTOGRAMS = _schema(
    1,
    provider=_TEXT,
    label=_TEXT,
    score_from=pa.float32(),
    score_to=pa.float32(),
    images=pa.int64(),
    lowest=pa.float32(),
    highest=pa.float32(),
    **_MODEL,
    **_RUN,
)

# Which parts of `features` hold what a model has said of a picture, by the first eight bytes of the picture's id.
PREDICTIONS = _schema(1, key=pa.uint64(), part=_TEXT)

OUTCOMES = _schema(
    2,
    stage=_TEXT,
    input_id=_TEXT,
    record_id=(_TEXT,),
    outcome=_TEXT,
    reason=_TEXT,
    detail=_TEXT,
    attempt=pa.int32(),
    raw=(_TEXT,),  # what could not be read
    **_RUN,
)

SUGGESTIONS = _schema(
    1,
    record_id=_TEXT,
    related_record_id=_TEXT,
    rank=pa.int32(),
    score=pa.float32(),
    visual_similarity=pa.float32(),
    shared_concepts=_TEXTS,
    reasons=_TEXTS,
    **_MODEL,
    **_RUN,
)

ANNOTATIONS = _schema(
    1,
    record_id=_TEXT,
    concept_uri=_TEXT,
    body_uri=_TEXT,
    target=_TEXT,
    state=_TEXT,
    remote_id=(_TEXT,),
    canonical=_TEXT,
    score=pa.float32(),
    stated_at=_TIME,
    stated_by_run=_TEXT,
    detail=_TEXT,
    **_MODEL,
    **_RUN,
)

FEEDBACK = _schema(
    1,
    record_id=_TEXT,
    concept_uri=(_TEXT,),  # None: the vocabulary has no such concept, and `label` is the word of the source
    label=_TEXT,
    proposed_by=_TEXT,  # machine, human
    model_name=_TEXT,  # as the export has it; empty for people
    model_version=_TEXT,
    score=(pa.float32(),),
    up=pa.int64(),
    down=pa.int64(),
    certainty=(pa.float32(),),  # that it is so, by Dawid and Skene's model, where annotators are told apart
    verdict=_TEXT,  # accepted, rejected, undecided
    rule=_TEXT,
    platform=_TEXT,
    campaign=_TEXT,
    stated_at=(_TIME,),
    **_RUN,
)


def features_schema(width: int, concepts: int) -> pa.Schema:
    """The `features` schema for embeddings of `width` float16 values, and raw scores of a model of so many concepts."""
    return _schema(
        2,
        record_id=_TEXT,
        image_id=_TEXT,
        raw_scores=pa.list_(pa.field("item", pa.float32(), nullable=False), concepts),
        embedding=pa.list_(pa.field("item", pa.float16(), nullable=False), width),
        **_MODEL,
        **_RUN,
    )


SCHEMAS: Mapping[str, pa.Schema] = {
    "records": RECORDS,
    "images": IMAGES,
    "near_duplicates": NEAR_DUPLICATES,
    "link_checks": LINK_CHECKS,
    "labels": LABELS,
    "record_labels": RECORD_LABELS,
    "suggestions": SUGGESTIONS,
    "annotations": ANNOTATIONS,
    "feedback": FEEDBACK,
    "outcomes": OUTCOMES,
    "score_histograms": SCORE_HISTOGRAMS,
}

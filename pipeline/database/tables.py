"""The tables as SQLAlchemy Core sees them; `sql/migrations` creates them (a test compares the two)."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)

metadata = MetaData()


class UtcTime(TypeDecorator[datetime]):
    """A time in UTC on both sides: SQLite forgets the zone, PostgreSQL answers in the zone of the database."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:
        if not isinstance(value, datetime):
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


ledger = Table(
    "publication_ledger",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("record_id", String(500), nullable=False),
    Column("concept_uri", String(500), nullable=False),
    Column("target", String(50), nullable=False),
    Column("body_uri", String(500), nullable=False),
    Column("canonical", String(100), nullable=False),
    Column("state", String(20), nullable=False),
    Column("remote_id", String(500)),
    Column("score", Float, nullable=False),
    Column("model_name", String(200), nullable=False),
    Column("model_version", String(50), nullable=False),
    Column("run_id", String(200), nullable=False),
    Column("batch", String(300)),  # who may send it now
    Column("attempts", Integer, nullable=False, default=0),
    Column("last_error", Text, nullable=False, default=""),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("provider", Text, nullable=False, server_default=""),  # of the record: its aggregator, and its institution
    Column("data_provider", Text, nullable=False, server_default=""),
    UniqueConstraint("record_id", "concept_uri", "target", name="uq_ledger_statement"),
    Index("ix_ledger_work", "batch", "state", "id"),
    Index("ix_ledger_concept", "target", "concept_uri"),
)

# What was taken down: nothing of it is harvested or published again.
tombstones = Table(
    "tombstones",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("kind", String(20), nullable=False),  # record, provider
    Column("name", String(500), nullable=False),
    Column("why", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    UniqueConstraint("kind", "name", name="uq_tombstone"),
)

model_versions = Table(
    "model_versions",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("name", String(200), nullable=False),
    Column("version", Integer, nullable=False),
    Column("status", String(20), nullable=False),
    Column("bundle_key", String(500), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("dataset_id", String(100), nullable=False),
    Column("metrics", JSON, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("gate", JSON),  # what `training.gate` said, and who overruled it; nothing where there was none to be held against
    Column("released_at", UtcTime),  # the last time
    UniqueConstraint("name", "version", name="uq_model_version"),
)

# What has been harvested: a row per listing × slice × run. A slice is a window of time, or all, or a group of ids.
harvest_windows = Table(
    "harvest_windows",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("listing", String(64), nullable=False),  # which platform, source, selection and lake
    Column("window", String(200), nullable=False),
    Column("run_id", String(200), nullable=False),
    Column("source", String(200), nullable=False),
    Column("start_at", UtcTime),
    Column("end_at", UtcTime),
    Column("run_attempt", Integer, nullable=False),
    Column("state", String(20), nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("owner", String(40), nullable=False),  # the process that works at it: another one's checkpoint is refused
    Column("generation", Integer, nullable=False),  # how often it was begun anew: its parts have names of their own
    Column("cursor", Text),  # where the next page begins; None: at the beginning
    Column("walk", Integer, nullable=False, default=1),  # 2: the second walk, for what the first one missed
    Column("pieces", JSON, nullable=False),  # the parts that hold its records, whichever run has written them
    Column("previous", JSON, nullable=False),  # pieces and counts of the listing before, until this one is whole
    Column("counts", JSON, nullable=False),
    Column("requests", Integer, nullable=False, default=0),
    Column("last_error", Text, nullable=False, default=""),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    UniqueConstraint("listing", "window", "run_id", name="uq_harvest_window"),
    Index("ix_harvest_windows_state", "listing", "state"),
)

# The rate limit of each API key (a fingerprint of it), as all processes know it together.
api_quotas = Table(
    "api_quotas",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("quota", Integer, nullable=False),
    Column("window_s", Integer, nullable=False),
    Column("remaining", Integer, nullable=False),
    Column("reset_at", UtcTime, nullable=False),
)

# What a start of a run has used of its own limits.
run_budgets = Table(
    "run_budgets",
    metadata,
    Column("name", String(300), primary_key=True),
    Column("started_at", UtcTime, nullable=False),
    Column("requests", Integer, nullable=False),
    Column("records", Integer, nullable=False),
)

# Every image address that was visited, and how it stands: the conditional requests, the re-checks and the duplicates
# are planned from here. `place` is where the picture's derivative lies in the lake.
image_links = Table(
    "image_links",
    metadata,
    Column("id", String(64), primary_key=True),  # of lake, record and address
    Column("lake", String(64), nullable=False),
    Column("record_id", String(500), nullable=False),
    Column("url", Text, nullable=False),
    Column("visited", Text, nullable=False),
    Column("fetched_as", String(20), nullable=False),
    Column("host", String(300), nullable=False),
    Column("state", String(20), nullable=False),
    Column("outcome", String(20), nullable=False),
    Column("reason", String(30)),
    Column("detail", Text, nullable=False),
    Column("status", Integer),
    Column("final_url", Text),
    Column("etag", Text),
    Column("last_modified", Text),
    Column("rules", String(16), nullable=False),  # the settings under which the verdict was reached
    Column("image_id", String(64)),
    Column("mime", String(100)),
    Column("width_px", BigInteger),
    Column("height_px", BigInteger),
    Column("size_bytes", BigInteger),
    Column("perceptual_hash", String(16)),
    Column("tone", String(16)),
    Column("place", JSON),
    Column("checks", Integer, nullable=False, default=0),  # in a row with the same state
    Column("checked_at", UtcTime, nullable=False),
    Column("next_check_at", UtcTime),
    Index("ix_image_links_due", "lake", "next_check_at"),
    Index("ix_image_links_image", "lake", "image_id"),
    Index("ix_image_links_record", "lake", "record_id"),
    Index("ix_image_links_host", "lake", "host", "perceptual_hash", "tone"),
)

"""The tables as SQLAlchemy Core sees them; `sql/migrations` creates them (a test compares the two)."""

from sqlalchemy import JSON, Column, DateTime, Float, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

metadata = MetaData()

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
    Column("attempts", Integer, nullable=False, default=0),
    Column("last_error", Text, nullable=False, default=""),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("record_id", "concept_uri", "target", name="uq_ledger_statement"),
    Index("ix_ledger_work", "target", "state", "id"),
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
    Column("created_at", DateTime(timezone=True), nullable=False),
    UniqueConstraint("name", "version", name="uq_model_version"),
)

"""Harvest windows, the rate limit that all processes share, and the budgets of runs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "harvest_windows",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("listing", sa.String(64), nullable=False),
        sa.Column("window", sa.String(200), nullable=False),
        sa.Column("run_id", sa.String(200), nullable=False),
        sa.Column("source", sa.String(200), nullable=False),
        sa.Column("start_at", sa.DateTime(timezone=True)),
        sa.Column("end_at", sa.DateTime(timezone=True)),
        sa.Column("run_attempt", sa.Integer, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("owner", sa.String(40), nullable=False),
        sa.Column("generation", sa.Integer, nullable=False),
        sa.Column("cursor", sa.Text),
        sa.Column("walk", sa.Integer, nullable=False),
        sa.Column("pieces", sa.JSON, nullable=False),
        sa.Column("previous", sa.JSON, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("last_error", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("listing", "window", "run_id", name="uq_harvest_window"),
    )
    op.create_index("ix_harvest_windows_state", "harvest_windows", ["listing", "state"])
    op.create_table(
        "api_quotas",
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("quota", sa.Integer, nullable=False),
        sa.Column("window_s", sa.Integer, nullable=False),
        sa.Column("remaining", sa.Integer, nullable=False),
        sa.Column("reset_at", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "run_budgets",
        sa.Column("name", sa.String(300), primary_key=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("requests", sa.Integer, nullable=False),
        sa.Column("records", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("run_budgets")
    op.drop_table("api_quotas")
    op.drop_table("harvest_windows")

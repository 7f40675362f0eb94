"""Whose records the ledger's statements are about, and what was taken down and must not come back."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for name in ("provider", "data_provider"):
        op.add_column("publication_ledger", sa.Column(name, sa.Text, nullable=False, server_default=""))
    op.create_index("ix_ledger_concept", "publication_ledger", ["target", "concept_uri"])
    op.create_table(
        "tombstones",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(20), nullable=False),
        sa.Column("name", sa.String(500), nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("kind", "name", name="uq_tombstone"),
    )


def downgrade() -> None:
    op.drop_table("tombstones")
    op.drop_index("ix_ledger_concept", "publication_ledger")
    for name in ("data_provider", "provider"):
        op.drop_column("publication_ledger", name)

"""Every image address that was visited, and how it stands."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "image_links",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("lake", sa.String(64), nullable=False),
        sa.Column("record_id", sa.String(500), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("visited", sa.Text, nullable=False),
        sa.Column("fetched_as", sa.String(20), nullable=False),
        sa.Column("host", sa.String(300), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("outcome", sa.String(20), nullable=False),
        sa.Column("reason", sa.String(30)),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("final_url", sa.Text),
        sa.Column("etag", sa.Text),
        sa.Column("last_modified", sa.Text),
        sa.Column("rules", sa.String(16), nullable=False),
        sa.Column("image_id", sa.String(64)),
        sa.Column("mime", sa.String(100)),
        sa.Column("width_px", sa.BigInteger),
        sa.Column("height_px", sa.BigInteger),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("perceptual_hash", sa.String(16)),
        sa.Column("tone", sa.String(16)),
        sa.Column("place", sa.JSON),
        sa.Column("checks", sa.Integer, nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_check_at", sa.DateTime(timezone=True)),
    )
    op.create_index("ix_image_links_due", "image_links", ["lake", "next_check_at"])
    op.create_index("ix_image_links_image", "image_links", ["lake", "image_id"])
    op.create_index("ix_image_links_record", "image_links", ["lake", "record_id"])
    op.create_index("ix_image_links_host", "image_links", ["lake", "host", "perceptual_hash", "tone"])


def downgrade() -> None:
    op.drop_table("image_links")

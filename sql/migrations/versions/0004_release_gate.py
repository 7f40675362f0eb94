"""What the release gate said of a version, who overruled it and why, and when the version came into force."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("model_versions", sa.Column("gate", sa.JSON))
    op.add_column("model_versions", sa.Column("released_at", sa.DateTime(timezone=True)))


def downgrade() -> None:
    op.drop_column("model_versions", "released_at")
    op.drop_column("model_versions", "gate")

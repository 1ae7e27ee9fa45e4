"""The embedded catalog's tables."""

import sqlalchemy as sa
from alembic import op

from xpcs_assets.errors import LedgerError

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the catalog."""
    op.create_table(
        "catalog_records",
        sa.Column("pid", sa.String(length=400), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("run_key", sa.String(length=160), nullable=False),
        sa.Column("analysis_key", sa.String(length=160), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("proposal", sa.Text(), nullable=False),
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("owner_group", sa.Text(), nullable=False),
        sa.Column("access_groups", sa.JSON(), nullable=False),
        sa.Column("embargo_until", sa.String(length=40), nullable=False),
        sa.Column("sample", sa.Text(), nullable=False),
        sa.Column("detector", sa.Text(), nullable=False),
        sa.Column("qmap_digest", sa.String(length=80), nullable=False),
        sa.Column("recipe_digest", sa.String(length=80), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("quality", sa.JSON(), nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("pid"),
    )
    op.create_index("catalog_records_by_time", "catalog_records", ["beamline", "created_at", "pid"], unique=False)
    op.create_index("catalog_records_by_run", "catalog_records", ["beamline", "run_key", "version"], unique=False)
    op.create_index("catalog_records_by_proposal", "catalog_records", ["proposal", "created_at"], unique=False)
    op.create_table(
        "catalog_notes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pid", sa.String(length=400), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("written_by", sa.Text(), nullable=False),
        sa.Column("written_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("catalog_notes_by_pid", "catalog_notes", ["pid", "id"], unique=False)


def downgrade() -> None:
    """Refuse: what people wrote is not thrown away."""
    raise LedgerError(
        "a ledger is never taken back to an older schema", remedy="Restore the database from its backup instead"
    )

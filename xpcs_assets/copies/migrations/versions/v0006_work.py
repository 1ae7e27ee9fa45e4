"""Jobs at back ends and transfers between places: what others do for us, found again after any restart."""

import sqlalchemy as sa
from alembic import op

from xpcs_assets.errors import LedgerError

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "jobs",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("analysis_key", sa.String(length=160), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("task", sa.String(length=160), nullable=False),
        sa.Column("backend", sa.String(length=96), nullable=False),
        sa.Column("backend_id", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("rung", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("request", sa.JSON(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_index("jobs_by_state", "jobs", ["beamline", "state", "changed_at"], unique=False)
    op.create_index("jobs_by_key", "jobs", ["beamline", "analysis_key", "version"], unique=False)
    op.create_table(
        "transfers",
        sa.Column("submission", sa.String(length=64), nullable=False),
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("run_key", sa.String(length=160), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("source", sa.String(length=96), nullable=False),
        sa.Column("target", sa.String(length=96), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("bytes_total", sa.BigInteger(), nullable=False),
        sa.Column("bytes_moved", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("submission"),
    )
    op.create_index("transfers_by_state", "transfers", ["beamline", "state", "changed_at"], unique=False)
    op.create_index("transfers_by_run", "transfers", ["beamline", "run_key", "version"], unique=False)


def downgrade() -> None:
    """Refuse: an older program would submit again what is under way."""
    raise LedgerError(
        "a ledger is never taken back to an older schema", remedy="Restore the database from its backup instead"
    )

"""What the catalogs outside the site were told and are to be told, and whether they answer."""

import sqlalchemy as sa
from alembic import op

from xpcs_assets.errors import LedgerError

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the outbox."""
    op.create_table(
        "catalog_outbox",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("catalog", sa.String(length=96), nullable=False),
        sa.Column("pid", sa.String(length=400), nullable=False),
        sa.Column("what", sa.String(length=16), nullable=False),
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("run_key", sa.String(length=160), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("pid_there", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("wanted_at", sa.BigInteger(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=True),
        sa.Column("rules", sa.String(length=80), nullable=False),
        sa.Column("again_at", sa.BigInteger(), nullable=True),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("fencing", sa.BigInteger(), nullable=False),
        sa.Column("held_until", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("catalog", "pid", "what"),
    )
    for name, columns in (
        ("catalog_outbox_by_turn", ["beamline", "catalog", "state", "next_at"]),
        ("catalog_outbox_by_run", ["beamline", "run_key", "version"]),
        ("catalog_outbox_by_look", ["beamline", "catalog", "state", "seen_at"]),
        ("catalog_outbox_by_change", ["beamline", "catalog", "again_at"]),
    ):
        op.create_index(name, "catalog_outbox", columns, unique=False)
    op.create_table(
        "catalog_reach",
        sa.Column("catalog", sa.String(length=96), nullable=False),
        sa.Column("down_since", sa.BigInteger(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("next_at", sa.BigInteger(), nullable=False),
        sa.Column("answered_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("catalog"),
    )


def downgrade() -> None:
    """Refuse: an older program would tell the catalogs nothing."""
    raise LedgerError(
        "a ledger is never taken back to an older schema", remedy="Restore the database from its backup instead"
    )

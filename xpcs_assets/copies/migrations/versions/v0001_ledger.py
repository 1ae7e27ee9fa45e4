"""The ledger's tables, and the triggers that keep its append-only ones so."""

import sqlalchemy as sa
from alembic import op

from xpcs_assets.errors import LedgerError

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("removals", "events")


def upgrade() -> None:
    """Create the ledger."""
    op.create_table(
        "arrivals",
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("run_key", sa.String(length=160), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("beamline", "run_key"),
    )
    op.create_index("arrivals_by_state", "arrivals", ["beamline", "state", "changed_at"], unique=False)
    op.create_table(
        "bundles",
        sa.Column("place", sa.String(length=96), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("run_key", sa.String(length=160), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("content", sa.String(length=16), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=80), nullable=False),
        sa.Column("index_digest", sa.String(length=80), nullable=False),
        sa.Column("evidence", sa.String(length=32), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("verified_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("place", "name"),
    )
    op.create_index("bundles_by_run", "bundles", ["beamline", "run_key", "version"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("run_key", sa.String(length=160), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("step", sa.String(length=32), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("events_by_run", "events", ["beamline", "run_key", "id"], unique=False)
    op.create_table(
        "holds",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("run_key", sa.String(length=160), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.Column("released_by", sa.Text(), nullable=True),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("holds_by_run", "holds", ["beamline", "run_key"], unique=False)
    op.create_table(
        "leases",
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("run_key", sa.String(length=160), nullable=False),
        sa.Column("purpose", sa.String(length=32), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("fencing", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("beamline", "run_key", "purpose"),
    )
    op.create_table(
        "removals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("intent", sa.Integer(), nullable=True),
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("run_key", sa.String(length=160), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("place", sa.String(length=96), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("removed_by", sa.Text(), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["intent"],
            ["removals.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("removals_by_run", "removals", ["beamline", "run_key", "version"], unique=False)
    op.create_table(
        "run_versions",
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("run_key", sa.String(length=160), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("manifest_digest", sa.String(length=80), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("owner", sa.JSON(), nullable=False),
        sa.Column("taken_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("beamline", "run_key", "version"),
        sa.UniqueConstraint("beamline", "run_key", "manifest_digest"),
    )
    op.create_index("run_versions_by_time", "run_versions", ["beamline", "taken_at"], unique=False)
    op.create_table(
        "bundle_members",
        sa.Column("place", sa.String(length=96), nullable=False),
        sa.Column("bundle", sa.String(length=255), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=80), nullable=False),
        sa.ForeignKeyConstraint(
            ["place", "bundle"],
            ["bundles.place", "bundles.name"],
        ),
        sa.PrimaryKeyConstraint("place", "bundle", "path"),
    )
    op.create_table(
        "copies",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("run_key", sa.String(length=160), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("place", sa.String(length=96), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("failure_domain", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", sa.String(length=32), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("verified_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["beamline", "run_key", "version"],
            ["run_versions.beamline", "run_versions.run_key", "run_versions.version"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("beamline", "run_key", "version", "place", "path"),
    )
    op.create_index("copies_by_place", "copies", ["place", "state", "recorded_at"], unique=False)
    op.create_table(
        "results",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("analysis_key", sa.String(length=160), nullable=False),
        sa.Column("run_key", sa.String(length=160), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("recipe_digest", sa.String(length=80), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("result_digest", sa.String(length=80), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("promoted", sa.Boolean(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["beamline", "run_key", "version"],
            ["run_versions.beamline", "run_versions.run_key", "run_versions.version"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("beamline", "analysis_key", "version", "recipe_digest", "result_digest"),
    )
    op.create_index("results_by_run", "results", ["beamline", "run_key", "version"], unique=False)
    if op.get_bind().dialect.name == "sqlite":
        for table in APPEND_ONLY:
            for verb in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, 'lines of {table} are never changed or deleted'); END"
                )


def downgrade() -> None:
    """Refuse: the ledger's history is not thrown away."""
    raise LedgerError(
        "a ledger is never taken back to an older schema", remedy="Restore the database from its backup instead"
    )

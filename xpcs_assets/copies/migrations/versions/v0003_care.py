"""Which ledger this is, bundles of several runs, the identities of places, approvals, files set aside, findings and audits."""

import uuid

import sqlalchemy as sa
from alembic import op

from xpcs_assets.errors import LedgerError

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

APPEND_ONLY = ("removals", "events", "approvals", "audits")


def upgrade() -> None:
    """Create the tables, and move the run of each bundle into a table of its own."""
    _create_ledger()
    _create_bundles()
    op.create_index("copies_by_verification", "copies", ["beamline", "place", "state", "verified_at"], unique=False)
    op.create_index("removals_by_place", "removals", ["beamline", "place", "kind", "at"], unique=False)
    _create_places()
    _create_aside()
    _create_clocks()
    _create_audits()
    _forbid_changes()


def _create_ledger() -> None:
    ledger = op.create_table(
        "ledger",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("identity", sa.String(length=64), nullable=False),
        sa.Column("journal_number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.bulk_insert(ledger, [{"id": 1, "identity": uuid.uuid4().hex, "journal_number": 0}])


def _create_bundles() -> None:
    """Make bundles and their members anew, with longer names and without the one run that a bundle was of.

    Their contents wait in tables that nothing refers to: SQLite alters neither a length nor a table referred to.
    """
    for table in ("bundles", "bundle_members"):
        op.execute(f"CREATE TABLE {table}_before AS SELECT * FROM {table}")
    op.drop_table("bundle_members")
    op.drop_table("bundles")
    op.create_table(
        "bundles",
        sa.Column("place", sa.String(length=96), nullable=False),
        sa.Column("name", sa.String(length=400), nullable=False),
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("content", sa.String(length=16), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=80), nullable=False),
        sa.Column("index_digest", sa.String(length=80), nullable=False),
        sa.Column("evidence", sa.String(length=32), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("verified_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("place", "name"),
    )
    op.create_table(
        "bundle_members",
        sa.Column("place", sa.String(length=96), nullable=False),
        sa.Column("bundle", sa.String(length=400), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("offset_bytes", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.String(length=80), nullable=False),
        sa.ForeignKeyConstraint(["place", "bundle"], ["bundles.place", "bundles.name"]),
        sa.PrimaryKeyConstraint("place", "bundle", "path"),
    )
    op.create_table(
        "bundle_runs",
        sa.Column("place", sa.String(length=96), nullable=False),
        sa.Column("bundle", sa.String(length=400), nullable=False),
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("run_key", sa.String(length=160), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("prefix", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["place", "bundle"], ["bundles.place", "bundles.name"]),
        sa.PrimaryKeyConstraint("place", "bundle", "beamline", "run_key", "version"),
    )
    kept = "place, name, beamline, content, size_bytes, sha256, index_digest, evidence, recorded_at, verified_at"
    members = "place, bundle, path, offset_bytes, size_bytes, sha256"
    op.execute(f"INSERT INTO bundles ({kept}) SELECT {kept} FROM bundles_before")
    op.execute(f"INSERT INTO bundle_members ({members}) SELECT {members} FROM bundle_members_before")
    op.execute(
        "INSERT INTO bundle_runs (place, bundle, beamline, run_key, version, prefix) "
        "SELECT place, name, beamline, run_key, version, '' FROM bundles_before"
    )
    for table in ("bundles", "bundle_members"):
        op.drop_table(f"{table}_before")
    op.create_index("bundle_runs_by_run", "bundle_runs", ["beamline", "run_key", "version"], unique=False)
    op.create_index("bundle_members_by_digest", "bundle_members", ["sha256", "place"], unique=False)


def _create_places() -> None:
    op.create_table(
        "places",
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("place", sa.String(length=96), nullable=False),
        sa.Column("identity", sa.String(length=64), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("met_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("beamline", "place"),
    )
    op.create_table(
        "approvals",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("place", sa.String(length=96), nullable=False),
        sa.Column("list_digest", sa.String(length=80), nullable=False),
        sa.Column("copies", sa.Integer(), nullable=False),
        sa.Column("items", sa.JSON(), nullable=False),
        sa.Column("approved_by", sa.Text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("approvals_by_list", "approvals", ["beamline", "place", "list_digest"], unique=False)


def _create_aside() -> None:
    op.create_table(
        "aside",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("run_key", sa.String(length=160), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("place", sa.String(length=96), nullable=False),
        sa.Column("copy_path", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("aside_path", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("intent", sa.Integer(), nullable=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.String(length=16), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["intent"], ["removals.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("place", "aside_path"),
    )
    op.create_index("aside_by_run", "aside", ["beamline", "run_key", "version"], unique=False)
    op.create_index("aside_by_state", "aside", ["beamline", "ended", "at"], unique=False)


def _create_clocks() -> None:
    op.create_table(
        "clocks",
        sa.Column("boot", sa.String(length=64), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("anchor_at", sa.BigInteger(), nullable=False),
        sa.Column("anchor_us", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("accepted_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("boot"),
    )


def _create_audits() -> None:
    op.create_table(
        "findings",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("place", sa.String(length=96), nullable=False),
        sa.Column("kind", sa.String(length=24), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("run_key", sa.String(length=160), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("times_seen", sa.Integer(), nullable=False),
        sa.Column("first_seen", sa.BigInteger(), nullable=False),
        sa.Column("last_seen", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("beamline", "place", "kind", "path", "run_key", "version"),
    )
    op.create_index("findings_by_change", "findings", ["beamline", "changed_at"], unique=False)
    op.create_index("findings_by_state", "findings", ["beamline", "state", "kind"], unique=False)
    op.create_table(
        "audits",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("place", sa.String(length=96), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("began_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("audits_by_place", "audits", ["beamline", "kind", "place", "id"], unique=False)


def _forbid_changes() -> None:
    """Give every append-only table the triggers that keep it so; on SQLite the first two have theirs."""
    if op.get_bind().dialect.name == "sqlite":
        for table in APPEND_ONLY[2:]:
            for verb in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, 'lines of {table} are never changed or deleted'); END"
                )
        return
    op.execute(
        "CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'lines of % are never changed or deleted', TG_TABLE_NAME; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION append_only()"
        )


def downgrade() -> None:
    """Refuse: what people wrote is not thrown away."""
    raise LedgerError(
        "a ledger is never taken back to an older schema", remedy="Restore the database from its backup instead"
    )

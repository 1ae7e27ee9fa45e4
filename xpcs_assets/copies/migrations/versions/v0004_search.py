"""What the embedded catalog searches by: narrow records, facets, numbers, full text, states; labels that people give.

The records of before are dropped: they are a cache, and `xpcs-assets recatalogue` makes them again from the data.
"""

import sqlalchemy as sa
from alembic import op

from xpcs_assets.errors import LedgerError

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_COUNTS = "('read-back hash', 'service checksum')"
_SAME = (
    "{0}.beamline = catalog_records.beamline AND {0}.run_key = catalog_records.run_key "
    "AND {0}.version = catalog_records.version"
)
_RAW_BUNDLE = (
    "SELECT 1 FROM bundle_runs m JOIN bundles b ON b.place = m.place AND b.name = m.bundle "
    f"WHERE {_SAME.format('m')} AND b.content = 'raw' AND m.place = c.place"
)
_COPY = f"SELECT 1 FROM copies c WHERE {_SAME.format('c')}"
_GOOD = f"{_COPY} AND c.state = 'present' AND c.evidence IN {_COUNTS}"
_ON_DISK = f"EXISTS ({_GOOD} AND NOT EXISTS ({_RAW_BUNDLE}))"
_IN_ARCHIVE = (
    f"EXISTS ({_GOOD} AND EXISTS ({_RAW_BUNDLE}) AND NOT EXISTS ({_RAW_BUNDLE} AND b.evidence NOT IN {_COUNTS}))"
)
_DIFFERS = (
    "EXISTS (SELECT 1 FROM findings f JOIN results x ON x.beamline = f.beamline AND x.path = f.path "
    f"WHERE {_SAME.format('f')} AND {_SAME.format('x')} AND f.kind = 'result differs' AND f.state = 'open' "
    "AND x.analysis_key = catalog_records.analysis_key "
    "AND x.recipe_digest = (SELECT k.recipe_digest FROM catalog_facets k WHERE k.key = catalog_records.facet))"
)
_QUARANTINED = (
    "EXISTS (SELECT 1 FROM catalog_facets k WHERE k.key = catalog_records.facet AND k.quality = 'quarantined')"
)
STATE = (
    "CASE WHEN catalog_records.kind = 'derived' THEN "
    f"CASE WHEN {_DIFFERS} THEN 'differs' WHEN {_QUARANTINED} THEN 'quarantined' ELSE 'analysed' END "
    f"WHEN {_IN_ARCHIVE} THEN CASE WHEN {_ON_DISK} THEN 'archived' ELSE 'pruned' END "
    f"WHEN {_ON_DISK} THEN 'staged' "
    f"WHEN EXISTS ({_COPY}) AND NOT EXISTS ({_COPY} AND c.state = 'present') THEN 'lost' "
    "ELSE 'unverified' END"
)
"""The same as ``xpcs_assets.catalog.states``, over a row of the records."""

_WATCHED = (
    ("copies", "INSERT", ""),
    ("copies", "UPDATE", "state, evidence"),
    ("bundle_runs", "INSERT", ""),
    ("bundles", "UPDATE", "evidence"),
    ("findings", "INSERT", ""),
    ("findings", "UPDATE", "state"),
    ("catalog_records", "INSERT", ""),
)
_OF_RUN = _SAME.format("NEW")
_OF_BUNDLE = (
    "EXISTS (SELECT 1 FROM bundle_runs n WHERE n.place = NEW.place AND n.bundle = NEW.name "
    f"AND {_SAME.format('n')})"
)


def upgrade() -> None:
    """Create the tables, what keeps words and states in step, and the labels."""
    op.drop_index("catalog_records_by_time", "catalog_records")
    op.drop_index("catalog_records_by_run", "catalog_records")
    op.drop_index("catalog_records_by_proposal", "catalog_records")
    op.drop_table("catalog_records")
    _create_records()
    _create_facets()
    _create_numbers()
    _create_labels()
    if op.get_bind().dialect.name == "sqlite":
        _words_on_sqlite()
        _states_on_sqlite()
    else:
        _words_on_postgresql()
        _states_on_postgresql()


def _integer() -> sa.types.TypeEngine:
    """64 bits; on SQLite the word that makes a primary key the row's own number."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _create_records() -> None:
    op.create_table(
        "catalog_records",
        sa.Column("number", _integer(), autoincrement=False, nullable=False),
        sa.Column("pid", sa.String(length=400), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("beamline", sa.String(length=96), nullable=False),
        sa.Column("run_key", sa.String(length=160), nullable=False),
        sa.Column("analysis_key", sa.String(length=160), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("facet", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=80), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("pid"),
    )
    op.create_index("catalog_records_by_run", "catalog_records", ["beamline", "run_key", "version"], unique=False)
    op.create_index("catalog_records_by_facet", "catalog_records", ["facet", "state", "number"], unique=False)
    op.create_table(
        "catalog_documents",
        sa.Column("number", _integer(), autoincrement=False, nullable=False),
        sa.Column("document", sa.JSON(), nullable=False),
        sa.Column("quality", sa.JSON(), nullable=False),
        sa.Column("sparkline", sa.JSON(), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["number"], ["catalog_records.number"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number"),
    )


def _create_facets() -> None:
    texts = (
        "kind", "beamline", "cycle", "experiment", "proposal", "sample", "detector", "day", "qmap_digest",
        "recipe_digest", "quality", "owner_group", "embargo_until",
    )  # fmt: skip
    op.create_table(
        "catalog_facets",
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in texts),
        sa.Column("access_groups", sa.JSON(), nullable=False),
        sa.Column("open_from", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "catalog_facet_groups",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("facet", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", "facet"),
    )


def _create_numbers() -> None:
    op.create_table(
        "catalog_quantities",
        sa.Column("key", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("si_unit", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_index("catalog_quantities_by_name", "catalog_quantities", ["name"], unique=False)
    op.create_table(
        "catalog_numbers",
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("si_value", sa.Double(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["number"], ["catalog_records.number"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", "quantity"),
        sqlite_with_rowid=False,
    )
    by_value = ["quantity", "si_value", "number"]
    op.create_index("catalog_numbers_by_value", "catalog_numbers", by_value, unique=False)


def _create_labels() -> None:
    op.create_table(
        "catalog_labels",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("pid", sa.String(length=400), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("word", sa.Text(), nullable=False),
        sa.Column("set_by", sa.Text(), nullable=False),
        sa.Column("set_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_by", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("catalog_labels_by_pid", "catalog_labels", ["pid", "id"], unique=False)
    op.create_index("catalog_labels_by_word", "catalog_labels", ["kind", "word", "pid"], unique=False)


def _words_on_sqlite() -> None:
    """A full-text table over the words of the documents, which triggers keep in step in the same transaction."""
    op.execute(
        "CREATE VIRTUAL TABLE catalog_words USING fts5(words, content='catalog_documents', content_rowid='number', "
        "detail=none, columnsize=0, prefix='2 3', tokenize='ascii')"
    )
    put = "INSERT INTO catalog_words (rowid, words) VALUES (NEW.number, NEW.words);"
    drop = "INSERT INTO catalog_words (catalog_words, rowid, words) VALUES ('delete', OLD.number, OLD.words);"
    for verb, done in (("INSERT", put), ("DELETE", drop), ("UPDATE OF number, words", f"{drop} {put}")):
        name = verb.partition(" ")[0].lower()
        op.execute(f"CREATE TRIGGER catalog_words_{name} AFTER {verb} ON catalog_documents BEGIN {done} END")


def _words_on_postgresql() -> None:
    """A generated column of lexemes: the words are split before, the same way for both databases."""
    op.execute(
        "ALTER TABLE catalog_documents ADD COLUMN lexemes tsvector GENERATED ALWAYS AS "
        "(array_to_tsvector(string_to_array(words, ' '))) STORED"
    )
    op.execute("CREATE INDEX catalog_documents_by_lexeme ON catalog_documents USING gin (lexemes)")


def _states_on_sqlite() -> None:
    for table, verb, names in _WATCHED:
        which = _OF_BUNDLE if table == "bundles" else _OF_RUN
        of = f" OF {names}" if names else ""
        op.execute(
            f"CREATE TRIGGER catalog_state_{table}_{verb.lower()} AFTER {verb}{of} ON {table} BEGIN "
            f"UPDATE catalog_records SET state = {STATE} WHERE {which} AND catalog_records.state <> {STATE}; END"
        )


def _states_on_postgresql() -> None:
    for name, which in (("catalog_state_of_run", _OF_RUN), ("catalog_state_of_bundle", _OF_BUNDLE)):
        op.execute(
            f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"UPDATE catalog_records SET state = {STATE} WHERE {which} AND catalog_records.state <> {STATE}; "
            "RETURN NULL; END $$"
        )
    for table, verb, names in _WATCHED:
        function = "catalog_state_of_bundle" if table == "bundles" else "catalog_state_of_run"
        of = f" OF {names}" if names else ""
        op.execute(
            f"CREATE TRIGGER catalog_state_{table}_{verb.lower()} AFTER {verb}{of} ON {table} "
            f"FOR EACH ROW EXECUTE FUNCTION {function}()"
        )


def downgrade() -> None:
    """Refuse: what people wrote is not thrown away."""
    raise LedgerError(
        "a ledger is never taken back to an older schema", remedy="Restore the database from its backup instead"
    )

"""Who sees records of the embedded catalog apart from the groups that were known at intake.

The records of before are dropped: they do not tell the two apart. They are a cache, and `xpcs-assets recatalogue` makes
them again from the data.
"""

import sqlalchemy as sa
from alembic import op

from xpcs_assets.errors import LedgerError

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Empty the catalog's tables and add the column."""
    for table in ("numbers", "documents", "records", "facet_groups", "facets"):
        op.execute(f"DELETE FROM catalog_{table}")  # noqa: S608 - names of our own
    op.add_column("catalog_facets", sa.Column("own_groups", sa.JSON(), nullable=False, server_default="[]"))


def downgrade() -> None:
    """Refuse: an older program would show records to whom the roster no longer names."""
    raise LedgerError(
        "a ledger is never taken back to an older schema", remedy="Restore the database from its backup instead"
    )

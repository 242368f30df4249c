"""Ids that never return, fences that are nobody else's, and what a unit's lost leases were.

What is added has a default, so that workers of the release before go on beside those of this one. PostgreSQL's
sequences never gave an id twice; SQLite's tables are made anew.
"""

import re
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEYED = (
    *("image", "file", "recipe", "worker", "caption", "edit", "job", "unit", "item", "failure"),
    *("run", "checkpoint", "remark", "evaluation"),
)
# Of what a process of the release before may still hold in its memory while this runs.
HELD = ("worker", "unit", "item", "file")
GAP = 10_000


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    for name in KEYED:
        with op.batch_alter_table(
            name, recreate="always" if sqlite else "never", table_kwargs={"sqlite_autoincrement": True}
        ) as batch:
            for column in _columns(name):
                batch.add_column(column)
            if name == "unit":
                batch.alter_column("fence", type_=sa.BigInteger(), existing_type=sa.Integer(), existing_nullable=False)
    if sqlite:
        _go_on_from_the_highest()


def _columns(table: str) -> list[sa.Column[Any]]:
    match table:
        case "unit":
            return [_count("lapses"), _count("preemptions")]
        case "job":
            return [_count("attempts"), _count("deaths")]
        case "worker":
            return [sa.Column("loading_job", sa.BigInteger().with_variant(sa.Integer(), "sqlite"))]
        case "run":
            return [sa.Column("stranded_at", sa.Double())]
        case "checkpoint":
            return [sa.Column("host", sa.Text())]
    return []


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, server_default=sa.text("0"))


def _go_on_from_the_highest() -> None:
    """Number on behind every id that is, was, or may still be named by somebody."""
    bind = op.get_bind()
    bind.execute(sa.text("DELETE FROM sqlite_sequence"))
    for name in KEYED:
        highest = bind.scalar(sa.text(f"SELECT coalesce(max(id), 0) FROM {name}"))  # noqa: S608 (our own names)
        if name == "run":
            highest = max(highest, _highest_run_named(bind))
        if highest:
            values = {"name": name, "highest": highest + (GAP if name in HELD else 0)}
            bind.execute(sa.text("INSERT INTO sqlite_sequence VALUES (:name, :highest)"), values)


def _highest_run_named(bind: sa.Connection) -> int:
    """Captions and aliases name runs in words, also runs that were forgotten."""
    names = bind.scalars(
        sa.text("SELECT model FROM recipe UNION SELECT model FROM alias UNION SELECT model FROM evaluation")
    )
    return max((int(found[1]) for name in names if (found := re.match(r"run:(\d{1,9})", name))), default=0)

"""Many rows a statement, as each database takes them best: PostgreSQL as arrays, SQLite one by one or as a list.

To PostgreSQL a thousand parameters, or a thousand statements, cost more than what is done with them; an array is one
parameter, whatever its length.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Connection,
    Insert,
    Table,
    TableClause,
    TableValuedAlias,
    and_,
    bindparam,
    column,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite


def upsert(connection: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An insert that takes `on_conflict_do_nothing` and `on_conflict_do_update` (by `index_elements=`)."""
    return (postgresql.insert if _has_arrays(connection) else sqlite.insert)(table)


def among(connection: Connection, one: Column[Any], values: Collection[Any]) -> ColumnElement[bool]:
    """Whether a column has one of some values."""
    if _has_arrays(connection):
        return one == func.any(literal(list(values), ARRAY(one.type)))
    return one.in_(list(values))


def insert_rows(connection: Connection, insert: Insert, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that all have the same columns, in their order."""
    if _has_arrays(connection):
        source = _unnested(rows, insert.table)
        connection.execute(insert.from_select(list(rows[0]), select(*source.c)))
    else:
        connection.execute(insert, rows)


def update_rows(connection: Connection, table: Table, sought: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Set the other columns of rows in those rows of a table that equal them in the columns `sought`, `id` the first.

    Rows are locked by their ids in ascending order, as everybody does, so that nobody deadlocks.
    """
    changed = [name for name in rows[0] if name not in sought]
    if _has_arrays(connection):
        source = _unnested(rows, table)
        found = (
            select(table.c.id, *(source.c[name] for name in changed))
            # By the ids alone, too: of a join by unequal columns a planner thinks that it finds little, and reads all.
            .where(among(connection, table.c.id, [row["id"] for row in rows]))
            .where(*(table.c[name] == source.c[name] for name in sought))
            .order_by(table.c.id)
            .with_for_update(of=table, key_share=True)
            .subquery()
        )
        connection.execute(
            update(table).where(table.c.id == found.c.id).values({name: found.c[name] for name in changed})
        )
    else:
        where = and_(*(table.c[name] == bindparam(f"at_{name}") for name in sought))
        connection.execute(
            update(table).where(where).values({name: bindparam(f"to_{name}") for name in changed}),
            [
                {f"{'at' if name in sought else 'to'}_{name}": value for name, value in row.items()}
                for row in sorted(rows, key=lambda row: row["id"])
            ],
        )


def _has_arrays(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def _unnested(rows: Sequence[Mapping[str, Any]], table: TableClause) -> TableValuedAlias:
    types = {name: table.c[name].type for name in rows[0]}
    arrays = [literal([row[name] for row in rows], ARRAY(kind)) for name, kind in types.items()]
    return func.unnest(*arrays).table_valued(*(column(name, kind) for name, kind in types.items())).render_derived()

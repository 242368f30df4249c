"""Pictures that a job skipped, as they had their caption: no row of the job leads to them, but its folders do."""

from __future__ import annotations

import glob
import json
from collections.abc import Collection
from pathlib import PurePosixPath

from sqlalchemy import Connection, select

from blipq.models.rows import among
from blipq.models.schema import file, job

STDIN = "-"


def asked_for(connection: Connection, image_ids: Collection[int], recipe_id: int, besides: int) -> set[int]:
    """Those of some contents that a job under the recipe, other than `besides`, found captioned already."""
    others = (job.c.recipe_id == recipe_id, job.c.skipped > 0, job.c.id != besides)
    places: set[str] = set()
    for row in connection.execute(select(job.c.source, job.c.parameters).where(*others)):
        paths = json.loads(row.parameters).get("paths", ())
        # What a pattern met, or a list on stdin named, is not in the ledger: it may have been anything.
        is_told = paths and not glob.has_magic(row.source) and STDIN not in row.source.split()
        places |= set(paths) if is_told else {"/"}
    if not places or not image_ids:
        return set()
    rows = connection.execute(select(file.c.image_id, file.c.path).where(among(connection, file.c.image_id, image_ids)))
    return {row.image_id for row in rows if _is_below(row.path, places)}


def _is_below(path: str, places: Collection[str]) -> bool:
    return path in places or any(str(folder) in places for folder in PurePosixPath(path).parents)

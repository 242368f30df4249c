"""Models as the ledger and the disk know them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from blipq.models import weights
from blipq.models.database import Ledger
from blipq.models.schema import alias, batch_size, caption, checkpoint, recipe


def listed(ledger: Ledger, default: str) -> list[dict[str, Any]]:
    """The default, the bundled, the promoted, the trained and the used models, with captions and measured rates."""
    rate = select(func.max(batch_size.c.rate)).where(batch_size.c.weights == recipe.c.weights).scalar_subquery()
    with ledger.read() as connection:
        used = connection.execute(
            select(recipe.c.model, func.count(caption.c.id), func.max(rate))
            .outerjoin(caption, caption.c.recipe_id == recipe.c.id)
            .group_by(recipe.c.model)
            .order_by(recipe.c.model)
        ).all()
        aliases = connection.execute(select(alias.c.name, alias.c.model).order_by(alias.c.name)).all()
        runs = connection.scalars(select(checkpoint.c.run_id).distinct().order_by(checkpoint.c.run_id)).all()
    rows = {
        default: {"what": "the default (BLIPQ_MODEL)"},
        "demo": {"what": "bundled: drawn scenes alone"},
        **{row.name: {"what": f"alias of {row.model}"} for row in aliases},
        **{f"run:{run}": {"what": "trained here"} for run in runs},
    }
    for name, captions, measured in used:
        rows.setdefault(name, {"what": "used"}).update(captions=captions, images_per_second=measured)
    return [{"model": name, "captions": 0, "images_per_second": None, **facts} for name, facts in rows.items()]


def describe(ledger: Ledger, name: str) -> dict[str, Any]:
    """Parameters, size, licence, place and measured rate of a model.

    Raises UnknownModel.
    """
    with ledger.write() as connection:
        found = weights.resolve(connection, name)
        rate = connection.scalar(select(func.max(batch_size.c.rate)).where(batch_size.c.weights == found.id))
    folder = found.folder or weights.is_at_hand(found.pinned)
    facts: dict[str, Any] = {"model": found.pinned, "weights": found.id, "folder": str(folder) if folder else None}
    if folder is None:
        return facts | {"parameters": None, "bytes": None, "licence": None, "images_per_second": rate}
    parts = [path for pattern in ("*.safetensors", "*.bin") for path in folder.glob(pattern)]
    return facts | {
        "parameters": _parameters(folder),
        "bytes": sum(path.stat().st_size for path in parts),
        "licence": _licence(folder),
        "images_per_second": rate,
    }


def _parameters(folder: Path) -> int | None:
    """Counted from the headers of the safetensors files; the weights are not read."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with open(path, "rb") as opened:
            (length,) = struct.unpack("<Q", opened.read(8))
            header = json.loads(opened.read(min(length, 100_000_000)))
        for key, tensor in header.items():
            if key != "__metadata__":
                size = 1
                for side in tensor["shape"]:
                    size *= side
                total += size
    return total or None


def _licence(folder: Path) -> str | None:
    """From the model card's front matter."""
    card = folder / "README.md"
    if not card.is_file():
        return "MIT, as blipq" if folder == weights.demo_folder() else None
    for line in card.read_text(encoding="utf-8", errors="replace").splitlines()[1:60]:
        key, _, value = line.partition(":")
        if key.strip() == "license":
            return value.strip()
        if line.strip() == "---":
            break
    return None

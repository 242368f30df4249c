"""A run's own folder: under a name that never comes again, with a marker inside that says whose it is.

A run's number does come again where a ledger was deleted, or restored from a copy, while its home stayed. So a folder's
name has a random part, and nothing is written to it or deleted in it before its marker was compared with the run's row.
Folders of the release before are named by the number alone and have no marker until their run goes on in them.
"""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path

from sqlalchemy import make_url

from blipq.models.training import Run

MARKER = "run.json"


def new_name(home: Path, run_id: int) -> Path:
    """Where a run that begins on this host is to lie; `create` makes it."""
    return home / "runs" / f"{run_id}-{secrets.token_hex(8)}"


def create(folder: Path, run: Run, ledger_url: str) -> None:
    """Make a run's folder, which must not be there yet. Raises OSError."""
    folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.mkdir(mode=0o700)
    mark(folder, run, ledger_url)


def mark(folder: Path, run: Run, ledger_url: str) -> None:
    """Say whose a folder is, for good. Raises OSError: also where somebody said so before."""
    url = make_url(ledger_url).set(query={}).render_as_string(hide_password=True)
    says = _says(folder, run) | {"ledger": url}
    with open(folder / MARKER, "x", encoding="utf-8") as marker:
        marker.write(json.dumps(says) + "\n")
        marker.flush()
        os.fsync(marker.fileno())


def is_own(folder: Path, run: Run) -> bool:
    """Whether a folder is to be seen from here, and its marker names this run of this ledger."""
    with suppress(OSError, ValueError, TypeError):
        said = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        return bool(said | _says(folder, run) == said)
    return False


def is_marked(folder: Path) -> bool:
    """Whether a folder says whose it is, whatever it says."""
    return os.path.lexists(folder / MARKER)


def _says(folder: Path, run: Run) -> dict[str, object]:
    """A number and the moment of its enqueueing are a run's; the folder's name tells a copy from the original."""
    return {"run": run.id, "created_at": run.created_at, "folder": folder.name}

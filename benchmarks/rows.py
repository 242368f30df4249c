"""Files on disk to committed rows: `blipq enqueue --wait` against a daemon that holds the model already."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from contestants import Contestant, Tokens

BLIPQ = [sys.executable, "-P", "-m", "blipq"]


class Daemon:
    """A home of its own: SQLite, the embedded broker, one worker; all of it ends with the block.

    Each run is the whole command, from the start of its process to the last committed row: scan, queue, claim, decode
    pool, model, commit. `--mode replace` captions known pictures again, so that every round does the same work.
    """

    def __init__(self, model: str, device: str, precision: str, batch: int, beams: int, tokens: int) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="blipq-rows-"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BLIPQ_")}
        self.environment = kept | {"BLIPQ_HOME": str(self.home), "BLIPQ_DEVICE": device}
        self.asked = ["--model", model, "--precision", precision, "--batch-size", str(batch), "--mode", "replace"]
        self.asked += ["--num-beams", str(beams), "--min-new-tokens", str(tokens), "--max-new-tokens", str(tokens)]
        self.precision, self.batch, self.beams = precision, batch, beams

    def __enter__(self) -> Daemon:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        subprocess.run([*BLIPQ, "down"], env=self.environment, stdout=subprocess.DEVNULL, check=False)
        shutil.rmtree(self.home)

    def contestant(self) -> Contestant:
        """The first run starts the daemon and loads the model: it is the warm-up."""
        return Contestant("blipq, to rows", self.precision, self.batch, self.beams, self.run)

    def run(self, paths: Sequence[Path]) -> Tokens:
        """Caption files; rows hold texts, so no tokens come back. Ends the benchmark unless each file got its row."""
        before = self._rows(0.0)[1]
        command = [*BLIPQ, "enqueue", *map(str, paths), *self.asked, "--wait", "--quiet"]
        subprocess.run(command, env=self.environment, stdout=subprocess.DEVNULL, check=True)
        committed, _ = self._rows(before)
        if committed != len(paths):
            raise SystemExit(f"{committed} rows committed for {len(paths)} files")
        return []

    def _rows(self, since: float) -> tuple[int, float]:
        """How many captions are newer than a time, and the newest one's (0: none yet)."""
        database = self.home / "blipq.db"
        if not database.exists():
            return 0, 0.0
        connection = sqlite3.connect(database)
        try:
            query = "SELECT count(*), max(created_at) FROM caption WHERE created_at > ?"
            count, newest = connection.execute(query, (since,)).fetchone()
        finally:
            connection.close()
        return count, newest or since

"""`blipq train --dry-run` behind the command line: a question on stdin, the engine's report as one line on stdout.

The question: {"data", "model", "plan"}. An answer {"error": line} says what is wrong.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from blipq import settings
from blipq.models.control import NoSuchJob
from blipq.models.database import LedgerError, open_ledger
from blipq.models.training import RunError
from blipq.models.weights import UnknownModel
from blipq.worker import plans
from blipq.worker.weights import folder_of

ENGINE = "blipq.worker.engine.training.child"


def main() -> int:
    """Answer one question."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches us too: end without a word
    try:
        answer = rehearse(**json.loads(sys.stdin.read()))
    except (RunError, NoSuchJob, UnknownModel, LedgerError) as error:
        answer = {"error": str(error)}
    print(json.dumps(answer))
    return 0


def rehearse(data: str, model: str, plan: dict[str, Any]) -> dict[str, Any]:
    """The engine's report on a run, or {"error": line}. Nothing is kept.

    Raises RunError, NoSuchJob, UnknownModel, LedgerError.
    """
    asked = settings.load()
    ledger = open_ledger(asked)
    base = folder_of(asked, plans.resolve_base(ledger, model, None), _say)
    with tempfile.TemporaryDirectory(prefix="blipq-dry-run-") as folder:
        given = plans.open_corrections(ledger, data, Path(folder))
        whole = plans.engine_plan(asked, plan, base=base, data=given, out=Path(folder) / "out", prefix="step-")
        command = [sys.executable, "-P", "-m", ENGINE, "--dry-run"]
        # The engine's log is for the daemon's file: what a person needs of it is in the report.
        done = subprocess.run(command, input=json.dumps(whole), capture_output=True, encoding="utf-8", check=False)
    try:
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = done.stderr.strip().splitlines()
        return {"error": f"the dry run ended with {done.returncode}: {last[-1] if last else 'nothing was said'}"}
    return {"error": answer["message"]} if answer.get("event") == "failed" else answer


def _say(message: str) -> None:
    print(message, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())

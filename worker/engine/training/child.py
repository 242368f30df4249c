"""The process that trains: a plan on stdin, events as JSON lines on stdout, the log on stderr.

usage: python -m blipq.worker.engine.training.child [--plan FILE] [--resume CHECKPOINT] [--dry-run]

It ends with its parent. SIGTERM and SIGINT: the present step is finished, a checkpoint written, `stopped` is the last
event, exit 0. Exit 1: a `failed` event says why; 2: plan or data are wrong, and a retry would not help. With several
devices it starts itself once for each through torchrun; the first reports, and we do when one of them is killed.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from blipq.worker.engine.training.events import Event, Failed, TrainingError, to_line
from blipq.worker.engine.training.plan import Plan

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LOST = 3  # exit status of a process of several that ended because another did
_log = logging.getLogger("blipq.training")


def main(arguments: list[str] | None = None) -> int:
    """Run a plan; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m blipq.worker.engine.training.child")
    parser.add_argument("--plan", type=Path, help="JSON file of the plan; stdin without it")
    parser.add_argument("--resume", type=Path, help="checkpoint folder to go on from")
    parser.add_argument("--dry-run", action="store_true", help="print what the run would be, and its time")
    options = parser.parse_args(arguments)
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    _end_with_parent()
    _stay_at_home()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    ranked = "RANK" in os.environ
    events = sys.stdout if ranked and os.environ["RANK"] != "0" else _own_stdout()
    try:
        text = options.plan.read_text() if options.plan else sys.stdin.read()
        plan = Plan.from_json(json.loads(text))
    except (OSError, ValueError, TypeError) as error:
        _send(events, Failed("usage", f"no plan: {error}"))
        return 2
    if len(plan.devices) > 1 and not ranked and not options.dry_run:
        try:
            return _launch(plan, options.resume, events, asked)
        except Exception as error:
            return _fail(events, error)
    return _run(plan, options.resume, options.dry_run, events, asked)


def _run(plan: Plan, resume: Path | None, dry_run: bool, events: TextIO, asked: threading.Event) -> int:
    from blipq.worker.engine.training.ranks import RankLost

    reports = os.environ.get("RANK", "0") == "0"
    try:
        if dry_run:
            from blipq.worker.engine.training.dryrun import describe

            events.write(json.dumps(describe(plan), ensure_ascii=False) + "\n")
            events.flush()
            return 0
        from blipq.worker.engine.training.trainer import train

        for event in train(plan, resume, asked.is_set):
            if reports:
                _send(events, event)
    except (TrainingError, ValueError) as error:
        kind = error.kind if isinstance(error, TrainingError) else "usage"
        _log.exception("the run ends")
        if reports:
            _send(events, Failed(kind, str(error)))
        return 2 if kind in ("usage", "data") else 1
    except RankLost as lost:
        _log.info("the run ends with another of its processes: %s", lost)
        return _LOST
    except BrokenPipeError:
        return 1  # nobody listens any more
    except Exception as error:
        return _fail(events if reports else None, error)
    return 0


def _fail(events: TextIO | None, error: Exception) -> int:
    """Say what nobody expected; the exit status."""
    _log.exception("the run ends")
    if events is not None:
        _send(events, Failed("error", f"{type(error).__name__}: {error}".splitlines()[0]))
    return 1


def _launch(plan: Plan, resume: Path | None, events: TextIO, asked: threading.Event) -> int:
    """Start this module once a device, through torchrun, in this process; events pass through our stdout."""
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    from blipq.worker.engine.training.pictures import cores
    from blipq.worker.engine.training.ranks import device_of

    try:
        for device in plan.devices:
            device_of(device)
    except ValueError as error:
        _send(events, Failed("usage", str(error)))
        return 2
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores() // len(plan.devices))))  # torchrun takes 1, and says so
    os.dup2(events.fileno(), 1)  # what the first process inherits
    with tempfile.TemporaryDirectory(prefix="blipq-") as folder:
        file = Path(folder) / "plan.json"
        file.write_text(json.dumps(plan.to_json()))
        command = ["--standalone", f"--nproc-per-node={len(plan.devices)}", "--max-restarts=0"]
        command += ["-m", "blipq.worker.engine.training.child", "--plan", str(file)]
        command += ["--resume", str(resume)] if resume else []
        try:
            torchrun(command)
        except SignalException:
            return 0  # the processes were told, finished their step and saved
        except ChildFailedError as error:
            return _fallen(plan, error.failures, events)
    return 0


def _fallen(plan: Plan, failures: Mapping[int, Any], events: TextIO) -> int:
    """The exit status of a run one of whose processes fell; only the first could say why by itself."""
    statuses = {rank: failure.exitcode for rank, failure in failures.items() if failure.exitcode != _LOST}
    rank, status = min(statuses.items(), default=(0, 1))
    if rank or status < 0:
        how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with exit status {status}"
        why = " (perhaps for want of memory)" if status == -signal.SIGKILL else ""
        where = f"process {rank + 1} of {len(plan.devices)} ({plan.devices[rank]})"
        _send(events, Failed("error", f"{where} {how}{why}"))
    return max(1, status)


def _send(events: TextIO, event: Event) -> None:
    events.write(to_line(event) + "\n")
    events.flush()


def _own_stdout() -> TextIO:
    """Keep stdout for events alone: whatever a library prints goes to the log."""
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return events


def _end_with_parent() -> None:
    """Ask for SIGKILL when the parent dies; where the system has no such call, look every second."""
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _stay_at_home() -> None:
    """No telemetry, no counting of downloads; set before the libraries are imported."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_UPDATE_DOWNLOAD_COUNTS", "0")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


if __name__ == "__main__":
    sys.exit(main())

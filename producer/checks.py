"""What `blipq doctor` looks at: each check says whether it holds, what was found, and what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from blipq.settings import Settings, redact

LEAST_DISK = 2_000_000_000  # bytes: a base model and a hundred thousand captions
TORCH_SECONDS = 120


@dataclass(frozen=True)
class Check:
    """One finding."""

    name: str
    holds: bool
    found: str
    do: str = ""


def run_checks(settings: Settings) -> Iterator[Check]:
    """Every check in order; none changes anything but what a first use makes (the home folder and its database)."""
    checks: tuple[Callable[[Settings], Check], ...] = (
        _python,
        _torch,
        _database,
        _broker,
        _workers,
        _model,
        _photos,
        _disk,
        _memory,
    )
    for check in checks:
        yield check(settings)


def _python(settings: Settings) -> Check:
    found = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro} on {sys.platform}"
    return Check("Python", sys.version_info >= (3, 11), found, "install Python 3.11 or newer")


def _torch(settings: Settings) -> Check:
    command = [sys.executable, "-P", "-m", "blipq.worker.device_report", settings.device]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TORCH_SECONDS, check=False)
        said = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        last = (done.stderr.strip().splitlines() or ["no answer"])[-1]
        return Check("torch", False, last, "reinstall torch: pip install torch==2.13.0")
    name = said.get("name", f"{said['threads']} threads")
    found = (
        f"torch {said['torch']}, transformers {said['transformers']}, {said['device']} ({name}), {said['precision']}"
    )
    return Check("torch", True, found)


def _database(settings: Settings) -> Check:
    from blipq.models import migrate
    from blipq.models.database import LedgerError, open_ledger

    try:
        ledger = open_ledger(settings)
        state, revision = migrate.state(ledger)
    except LedgerError as error:
        return Check("database", False, str(error), "start it, or correct BLIPQ_DATABASE_URL")
    if state == "empty" and ledger.sqlite_path is not None:
        return Check("database", True, f"{ledger.sqlite_path}, made at the first enqueue")
    do = "upgrade blipq" if state == "newer" else "blipq db upgrade"
    return Check("database", state == "current", f"{redact(ledger.url)}, schema {revision or 'none'}: {state}", do)


def _broker(settings: Settings) -> Check:
    from blipq.worker import valkey
    from blipq.worker.broker import BrokerError, open_client

    try:
        if settings.embedded and not valkey.is_running(settings.home):
            return Check("broker", True, f"embedded {valkey.binary().name}, started when there is work")
        with open_client(settings) as client:
            version = client.info("server").get("redis_version")
    except BrokerError as error:
        return Check("broker", False, str(error), "blipq down, then blipq up; or correct BLIPQ_REDIS_URL")
    return Check("broker", True, f"{'embedded' if settings.embedded else redact(settings.redis_url or '')}, {version}")


def _workers(settings: Settings) -> Check:
    from blipq.models import migrate, starts, status
    from blipq.models.database import LedgerError, open_ledger

    try:
        ledger = open_ledger(settings)
        if migrate.state(ledger)[0] != "current":
            return Check("workers", True, "none yet")
        with ledger.read() as connection:
            alive = status.living(connection)
            troubles = starts.troubles(connection)
    except LedgerError:
        return Check("workers", False, "unknown without the database", "mend the database first")
    if troubles:
        do = (
            "mend that, then blipq down: the next enqueue starts anew" if settings.embedded else "mend that on its host"
        )
        return Check("workers", False, "; ".join(map(str, troubles)), do)
    named = ", ".join(f"{row['name']} on {row['device']}" for row in alive) or "none running"
    return Check("workers", bool(alive) or settings.embedded, named, "start `blipq worker` on each host")


def _model(settings: Settings) -> Check:
    from blipq.models.weights import is_at_hand

    where = is_at_hand(settings.model)
    if where is not None:
        return Check("model", True, f"{settings.model} in {where}")
    return Check("model", True, f"{settings.model} is downloaded from the Hub at its first use (about 1 GB)")


def _photos(settings: Settings) -> Check:
    """Workers read photos under the paths that were enqueued: each host must see them."""
    from blipq.models import migrate, status
    from blipq.models.database import LedgerError, open_ledger

    try:
        ledger = open_ledger(settings)
        if migrate.state(ledger)[0] != "current":
            return Check("photos", True, "none enqueued yet")
        with ledger.read() as connection:
            paths = status.enqueued_paths(connection)
    except LedgerError:
        return Check("photos", False, "unknown without the database", "mend the database first")
    missing = [path for path in paths if not Path(path).exists()]
    if missing:
        return Check("photos", False, f"not seen from this host: {missing[0]}", "mount it here under the same path")
    return Check("photos", True, f"{len(paths)} enqueued folders are seen from this host")


def _disk(settings: Settings) -> Check:
    place = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    return Check("disk", free > LEAST_DISK, f"{free / 1e9:.1f} GB free in {settings.home}", "make room: 2 GB at least")


def _memory(settings: Settings) -> Check:
    try:
        with open("/proc/meminfo", encoding="ascii") as rows:
            sizes = {row.split(":")[0]: int(row.split()[1]) * 1024 for row in rows}
    except (OSError, ValueError, IndexError):
        return Check("memory", True, "not known on this system")
    free = sizes.get("MemAvailable", 0)
    return Check("memory", free > 2_000_000_000, f"{free / 1e9:.1f} GB free", "close programs: a base model takes 2 GB")

"""The ledger as a command opens it: migrated where it is embedded, checked where it is a server's."""

from __future__ import annotations

from blipq.models.database import PATIENT_SECONDS, Ledger, open_ledger
from blipq.models.migrate import ensure_schema, state
from blipq.producer import daemon
from blipq.producer.errors import UserError
from blipq.settings import Settings, redact


def open_ready(settings: Settings) -> Ledger:
    """A ledger of this version's schema.

    Raises LedgerError, UserError.
    """
    if settings.database_url is None and settings.redis_url is not None:
        raise UserError(
            f"a shared Redis ({redact(settings.redis_url)}) needs a shared database: "
            "set BLIPQ_DATABASE_URL to a PostgreSQL"
        )
    ledger = open_ledger(settings, PATIENT_SECONDS)
    if ledger.sqlite_path is not None:
        _refuse_network_disk(settings)
        if state(ledger)[0] == "older" and daemon.running(settings) is not None:
            daemon.stop(settings)  # it knows the older schema alone
    ensure_schema(ledger)
    return ledger


def _refuse_network_disk(settings: Settings) -> None:
    """SQLite's locks do not hold over a network: two hosts would damage the file."""
    try:
        with open("/proc/mounts", encoding="utf-8", errors="replace") as mounts:
            rows = [line.split()[1:3] for line in mounts]
    except OSError:
        return
    home = str(settings.home.resolve())
    inside = [row for row in rows if home == row[0] or home.startswith(row[0].rstrip("/") + "/")]
    kind = max(inside, key=lambda row: len(row[0]), default=("/", ""))[1]
    if kind in {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "fuse.sshfs"}:
        raise UserError(f"BLIPQ_HOME={settings.home} lies on a network disk ({kind}): choose a local folder")

"""Which errors are a person's to mend, and so reach them as one line."""

from __future__ import annotations

import sys

# Looked up by name where they may have been raised: importing them here would slow every command.
_MODULES = {
    "blipq.settings": ("SettingsError",),
    "blipq.models.database": ("LedgerError",),
    "blipq.models.weights": ("UnknownModel",),
    "blipq.models.recipes": ("BadRecipe",),
    "blipq.models.control": ("NoSuchJob",),
    "blipq.models.reading": ("BadQuery",),
    "blipq.models.edits": ("NoSuchBatch",),
    "blipq.models.forget": ("StillWanted",),
    "blipq.models.intake": ("JobCancelled",),
    "blipq.models.training": ("RunError",),
    "blipq.models.comparison": ("NothingToCompare",),
    "blipq.worker.valkey": ("BrokerError",),
}


class UserError(Exception):
    """Something that a person can mend; the message is one line: what is wrong, what to do."""


def one_line(error: BaseException) -> str | None:
    """What to say of an error; None where it is a fault of ours, whose traceback is wanted."""
    kinds: tuple[type, ...] = (UserError, BrokenPipeError)
    for module, names in _MODULES.items():
        if module in sys.modules:
            kinds += tuple(getattr(sys.modules[module], name) for name in names)
    if not isinstance(error, kinds):
        return None
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)  # a KeyError quotes itself

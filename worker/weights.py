"""Where a model's weights lie as safetensors: in their folder, fetched from the Hub, or converted, each once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from blipq.models.weights import HubUnreachable, UnknownModel, Weights
from blipq.settings import Settings
from blipq.worker.engine.errors import NotACaptioner, NotFetched


def folder_of(settings: Settings, found: Weights, say: Callable[[str], None]) -> Path:
    """Where the weights lie as safetensors: fetched from the Hub and converted, each once, if need be.

    Raises UnknownModel; HubUnreachable where asking again later may help.
    """
    from blipq.worker.engine.weights import convert, fetch, needs_conversion

    def progress(what: str, done: int, total: int) -> None:
        say(f"{what}, {100 * done // max(1, total)} %")

    try:
        folder = found.folder or fetch(*found.hub, progress)
        if needs_conversion(folder):
            key = hashlib.sha256(found.id.encode()).hexdigest()[:32]
            folder = convert(folder, settings.home / "converted" / key, progress)
    except NotFetched as error:
        raise HubUnreachable(str(error)) from None
    except NotACaptioner as error:
        raise UnknownModel(str(error)) from None
    return folder

"""Whether a folder holds a BLIP captioner, by its configuration alone: no torch, a millisecond."""

from __future__ import annotations

import json
from pathlib import Path

from blipq.worker.engine.errors import NotACaptioner

CAPTIONER = "BlipForConditionalGeneration"


def check(folder: Path) -> None:
    """Raise NotACaptioner when the configuration in a folder is no BLIP captioner's."""
    if not folder.is_dir():
        raise NotACaptioner(f"{folder}: no such folder")
    try:
        config = json.loads((folder / "config.json").read_text())
        kind, architectures = config.get("model_type"), config.get("architectures") or []
    except FileNotFoundError:
        raise NotACaptioner(f"{folder}: no config.json in it, so no checkpoint of transformers") from None
    except (OSError, ValueError, AttributeError) as error:
        raise NotACaptioner(f"{folder}: config.json cannot be read ({one_line(error)})") from None
    if kind != "blip" or (architectures and CAPTIONER not in architectures):
        found = ", ".join(map(str, architectures)) or "no architecture named"
        raise NotACaptioner(f"{folder}: a model of type {kind} ({found}), not a BLIP captioner ({CAPTIONER})")


def one_line(error: BaseException) -> str:
    """What an error says, in one line of at most 200 characters."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}…"

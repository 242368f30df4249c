"""The models that a worker holds: two at the most, the least used goes first, none after idle minutes."""

from __future__ import annotations

import importlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from blipq.models import starts, weights
from blipq.models.database import Ledger
from blipq.settings import Settings
from blipq.worker.orders import Kind
from blipq.worker.reasons import CannotBegin, reason
from blipq.worker.weights import folder_of

if TYPE_CHECKING:
    from blipq.worker.engine.captioner import Captioner

_NEEDED = ("device", "precision", "preprocessing", "caption", "warm_up", "close")  # of a captioner
HELD = 2  # two full-size models in bf16 are 1.4 GB
_log = logging.getLogger(__name__)


class ModelChanged(Exception):
    """A folder no longer holds the weights that a job was enqueued with."""


@dataclass
class _Loaded:
    captioner: Captioner
    seconds: float
    used_at: float


class ModelCache:
    """Opens models and keeps them. Used by the model's thread; `unload_idle` may come from another."""

    def __init__(self, ledger: Ledger, settings: Settings, show: Callable[..., None]) -> None:
        self._ledger = ledger
        self._settings = settings
        self._show = show
        self._loaded: dict[tuple[str, str], _Loaded] = {}
        self._open: Callable[[str, str, str], Captioner] | None = None
        self.lock = threading.Lock()  # held by the model's thread while it works
        self.last_load = 0.0  # seconds that the last load took
        self.loaded_at = 0.0

    def holds(self, kind: Kind) -> bool:
        """Whether a model is loaded."""
        return (kind.weights, kind.precision) in self._loaded

    def get(self, kind: Kind) -> Captioner:
        """The model of a kind, loaded if need be.

        Raises UnknownModel, HubUnreachable, ModelChanged, engine.captioner.NotACaptioner, CannotBegin, and whatever
        a captioner raises.
        """
        key = (kind.weights, kind.precision)
        if key not in self._loaded:
            while len(self._loaded) >= HELD:
                self._unload(min(self._loaded, key=lambda k: self._loaded[k].used_at))
            self._load(key, kind)
        loaded = self._loaded[key]
        loaded.used_at = time.monotonic()
        return loaded.captioner

    def import_captioner(self) -> Callable[[str, str, str], Captioner]:
        """What opens a model: torch and all comes with it, 2 s at the first call.

        Raises CannotBegin where it cannot be imported: then this worker can load no model at all.
        """
        if self._open is not None:
            return self._open
        name = self._settings.captioner
        module, _, function = name.partition(":")
        try:
            found: Callable[[str, str, str], Captioner] = getattr(importlib.import_module(module), function)
        except BaseException as error:  # a module may raise anything, and call sys.exit
            own = name != Settings.model_fields["captioner"].default
            do = "correct BLIPQ_CAPTIONER" if own else "install blipq's packages anew"
            raise CannotBegin(f"{name} cannot be imported ({reason(error)}): {do}") from error
        with self._ledger.write() as connection:
            starts.begun(connection, "caption", self._settings.device)
        self._open = found
        return found

    def unload_idle(self) -> None:
        """Give the device back what was not used for `BLIPQ_MODEL_IDLE` seconds."""
        if self.lock.acquire(blocking=False):
            try:
                now = time.monotonic()
                for key, loaded in list(self._loaded.items()):
                    if now - loaded.used_at > self._settings.model_idle:
                        self._unload(key)
            finally:
                self.lock.release()

    def unload_others(self, kind: Kind) -> bool:
        """Give their memory to the model of a kind. False where there is no other."""
        others = [key for key in self._loaded if key != (kind.weights, kind.precision)]
        for key in others:
            self._unload(key)
        return bool(others)

    def unload(self, kind: Kind) -> None:
        """Unload a model, where it was loaded."""
        if self.holds(kind):
            self._unload((kind.weights, kind.precision))

    def close(self) -> None:
        """Unload all."""
        for key in list(self._loaded):
            self._unload(key)

    def _load(self, key: tuple[str, str], kind: Kind) -> None:
        self._show(state="loading", model=kind.model)
        began = time.monotonic()
        precision = self._settings.precision if kind.precision == "auto" else kind.precision
        open_captioner = self.import_captioner()
        captioner = _checked(open_captioner(str(self._folder(kind)), self._settings.device, precision))
        self.last_load = time.monotonic() - began
        self.loaded_at = time.monotonic()
        self._loaded[key] = _Loaded(captioner, self.last_load, self.loaded_at)
        self._show(state="running", model=kind.model, device=captioner.device)
        _log.info("loaded %s on %s in %s, %.1f s", kind.model, captioner.device, captioner.precision, self.last_load)

    def _folder(self, kind: Kind) -> Path:
        """Where the weights lie: checked by content where they are a folder, fetched where they are the Hub's."""
        with self._ledger.write() as connection:
            found = weights.resolve(connection, kind.model)
        if found.id != kind.weights:
            raise ModelChanged(
                f"the model {kind.model} has other weights than when the job was enqueued: enqueue again"
            )
        try:
            return folder_of(self._settings, found, lambda said: self._show(note=said))
        finally:
            self._show(note=None)

    def _unload(self, key: tuple[str, str]) -> None:
        captioner = self._loaded.pop(key).captioner
        try:
            captioner.close()
        except Exception:  # what it kept is lost to this process; the next model may still fit
            _log.warning("%s did not unload cleanly", key[0], exc_info=True)
        _log.info("unloaded %s", key[0])
        if not self._loaded:
            self._show(model=None)


def _checked(captioner: Captioner) -> Captioner:
    """A captioner of somebody's own, as it must be. Raises TypeError."""
    missing = [name for name in _NEEDED if not hasattr(captioner, name)]
    if missing:
        raise TypeError(
            f"what BLIPQ_CAPTIONER opened is no captioner: a {type(captioner).__name__} without {missing[0]}"
        )
    wants = captioner.preprocessing
    numbers = (getattr(wants, name, None) for name in ("height", "width", "resample"))
    if not all(isinstance(number, int) for number in numbers):
        raise TypeError(f"the captioner's preprocessing does not say height, width and resample: {wants!r:.100}")
    return captioner

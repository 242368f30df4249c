"""The one exception of our own about a picture's bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from blipq.worker.engine.picture import Kind


class Refused(Exception):
    """A picture that is not tried, or whose decoder did not say what is wrong with it."""

    def __init__(self, kind: Kind, message: str) -> None:
        super().__init__(message)
        self.kind = kind

"""Why a model cannot caption. No torch here: a worker tells these apart before, and without, importing it."""

from __future__ import annotations


class NotACaptioner(Exception):
    """The folder holds no BLIP captioner that can be run; the message is one line that names what was found."""


class NotFetched(Exception):
    """A checkpoint could not be had from the Hub; the message is one line that says why and what to do."""


class OutOfMemory(Exception):
    """The device has no room for a batch of this size; everything of the batch was freed, so a smaller one may fit."""

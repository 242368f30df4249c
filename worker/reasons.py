"""Why something ended, in words that fit into a line of a person's screen."""

from __future__ import annotations

import signal

LONGEST = 300  # characters


class CannotBegin(Exception):
    """This worker can do nothing at all, whatever the job; the message is one line: what is wrong, what to do."""


class NeedsFreshProcess(Exception):
    """The device took harm, and nothing of this process can use it any more."""


def reason(error: BaseException) -> str:
    """An error that nobody foresaw, with its type, in one line."""
    words = " ".join(str(error).split())
    said = f"{type(error).__name__}: {words}" if words else type(error).__name__
    return said if len(said) <= LONGEST else said[: LONGEST - 1] + "…"


def ending(exit_status: int) -> str:
    """How a process ended, to be said after its name."""
    if exit_status >= 0:
        return f"ended with exit status {exit_status}"
    try:
        name = signal.Signals(-exit_status).name
    except ValueError:  # a real-time signal
        name = f"signal {-exit_status}"
    return f"was ended by {name}{' (perhaps for want of memory)' if exit_status == -signal.SIGKILL else ''}"

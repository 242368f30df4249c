"""A picture's file into memory, opened as warily as a path that somebody else may have swapped meanwhile."""

from __future__ import annotations

import errno
import os
import stat

from blipq.worker.engine.picture import BadImage, Kind

# Without O_NONBLOCK a pipe would block the open for ever; regular files do not notice.
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
_KINDS: dict[int, Kind] = {
    errno.ENOENT: "missing",
    errno.ENOTDIR: "missing",
    errno.ENAMETOOLONG: "missing",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.ELOOP: "link",
    errno.ENXIO: "special",
    errno.EISDIR: "special",
}
_MESSAGES: dict[Kind, str] = {
    "missing": "there is no such file",
    "permission": "no permission to read the file",
    "link": "a symbolic link, and links are not followed",
    "special": "a device, pipe or socket, not a file",
}


def read_picture(path: bytes, limit: int) -> bytes | BadImage:
    """The bytes of a regular file of at most `limit` bytes, or why not: missing, permission, link, special, too-big,
    changed, or io for all else that storage can do (EIO, ESTALE and their like)."""
    try:
        descriptor = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        return _failure(error)
    try:
        before = os.fstat(descriptor)
        if stat.S_ISDIR(before.st_mode):
            return BadImage("special", "a folder, not a file")
        if not stat.S_ISREG(before.st_mode):
            return BadImage("special", _MESSAGES["special"])
        if before.st_size > limit:
            return too_big(before.st_size, limit)
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read(before.st_size + 1)  # one more shows that it grew
        after = os.fstat(descriptor)
    except OSError as error:
        return _failure(error)
    finally:
        os.close(descriptor)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns) or len(data) != before.st_size:
        return BadImage("changed", "the file changed while it was read")
    return data


def too_big(size: int, limit: int) -> BadImage:
    """What is said of a file, or an upload, of more than `limit` bytes."""
    return BadImage("too-big", f"{_in_words(size)}, and the limit is {_in_words(limit)}")


def _in_words(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.4g} {unit}"
        size /= 1000
    return f"{size:.4g} TB"


def _failure(error: OSError | ValueError) -> BadImage:
    if not isinstance(error, OSError):
        return BadImage("missing", _MESSAGES["missing"])
    kind = _KINDS.get(error.errno or 0, "io")
    return BadImage(kind, _MESSAGES.get(kind) or f"the storage failed: {os.strerror(error.errno or errno.EIO)}")

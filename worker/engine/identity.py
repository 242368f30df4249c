"""A picture's content, so that a renamed, copied or newly tagged photo is known again."""

from __future__ import annotations

import hashlib

from blipq.worker.engine.container import Container, read_container


def identify(data: bytes) -> bytes:
    """32 bytes that stand for what a picture shows.

    JPEG, PNG and WebP: SHA-256 of the coded picture data and the orientation, without metadata, so that a tag saved
    elsewhere captions nothing again. Every other format, and a file of broken structure: SHA-256 of all its bytes.
    """
    return digest_of(data, read_container(data))


def digest_of(data: bytes, container: Container | None) -> bytes:
    """`identify` for a file that has been taken apart already."""
    if container is None:
        return hashlib.sha256(data).digest()
    digest = hashlib.sha256(b"%b %d\0" % (container.codec, container.orientation))
    for part in container.parts:
        digest.update(part)
    return digest.digest()

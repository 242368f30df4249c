"""Camera RAW files: known by their content, and shown as the largest JPEG that the camera put into them.

Their TIFF clothes have a thumbnail of 160 pixels in front, which is no picture to caption. The sensor's data are not
developed: that takes seconds a picture and a taste of its own, and every camera stores what it made of them itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from blipq.worker.engine import raw_boxes, raw_tiff
from blipq.worker.engine.container import Container, read_container
from blipq.worker.engine.jpeg_scan import frame_size
from blipq.worker.engine.raw_tiff import Embedded
from blipq.worker.engine.refused import Refused

RAW_FORMATS = (*raw_tiff.FORMATS, "RAF", "CR3")
LARGEST_THUMBNAIL = 512  # pixels of the longer side; a preview has more
_MOST_TRIED = 8  # previews looked at to their end, the largest first
_RAF = b"FUJIFILMCCD-RAW"
_RAF_JPEG = 84  # where a RAF keeps its JPEG's offset and length


@dataclass(frozen=True)
class Raw:
    """A camera RAW: its format, its preview taken apart, and the orientation (1 to 8) where the preview has none."""

    format: str
    preview: bytes
    container: Container
    orientation: int


@dataclass(frozen=True)
class _Found:
    """What a file holds, before any of its previews is looked at."""

    format: str
    embedded: Iterable[Embedded]
    orientation: int


def raw_format(data: bytes) -> str | None:
    """What kind of camera RAW a file is, by its content alone; None: it is none."""
    found = _find(data)
    return found.format if found else None


def read_raw(data: bytes) -> Raw | None:
    """A camera RAW with its preview; None for any other file, plain TIFFs among them.

    Raises Refused: "unsupported" where no preview has more than 512 pixels, "corrupt" where the one that has is broken.
    """
    found = _find(data)
    if not found:
        return None
    broken, sized = False, []
    for part in set(found.embedded):
        size = frame_size(data, part.start, part.start + part.length)
        if size and max(size) > LARGEST_THUMBNAIL:
            sized.append((size, part))
        elif not size:
            broken |= part.surely
    sized.sort(key=lambda one: (one[0][0] * one[0][1], one[1].start), reverse=True)
    for _, part in sized[:_MOST_TRIED]:
        preview = data[part.start : part.start + part.length]
        container = read_container(preview)
        if container:
            return Raw(found.format, preview, container, found.orientation)
    if sized or broken:
        raise Refused("corrupt", f"a broken {found.format} file: the preview inside is damaged or cut short")
    raise Refused(
        "unsupported",
        f"a camera RAW ({found.format}) without a preview larger than {LARGEST_THUMBNAIL} pixels: "
        "develop it to JPEG first",
    )


def _find(data: bytes) -> _Found | None:
    if data.startswith(_RAF):
        start, length = (int.from_bytes(data[at : at + 4]) for at in (_RAF_JPEG, _RAF_JPEG + 4))
        return _Found("RAF", [Embedded(start, length, surely=True)], 1)
    if data[4:12] == b"ftypcrx ":
        return _Found("CR3", raw_boxes.embedded(data), raw_boxes.orientation(data))
    found = raw_tiff.read(data)
    return _Found(found.format, found.embedded, found.orientation) if found else None

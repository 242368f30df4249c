"""A picture's file with its header read: what is to be decoded, which way up it is, and what it is called."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from PIL import ImageFile

from blipq.worker.engine.container import Container, from_hex, read_container
from blipq.worker.engine.damage import damage
from blipq.worker.engine.formats import open_picture
from blipq.worker.engine.identity import digest_of
from blipq.worker.engine.raw import Raw, read_raw
from blipq.worker.engine.refused import Refused
from blipq.worker.engine.rgb import stated_orientation


@dataclass(frozen=True)
class Opened:
    """`image` has its header read and nothing decoded; of a camera RAW it is the embedded preview.

    A decoder that failed leaves its object with the pixels that it had got so far, and does not fail again. So nothing
    here touches the decoder but `load`, and whatever that raises ends the picture.
    """

    data: bytes
    image: ImageFile.ImageFile
    container: Container | None  # of `data`
    raw: Raw | None

    @property
    def format(self) -> str:
        """A RAW's kind, else Pillow's name; MPO, a JPEG that has a preview appended, counts as the JPEG that it is."""
        if self.raw:
            return self.raw.format
        return "JPEG" if self.image.format == "MPO" else str(self.image.format)

    @property
    def is_jpeg(self) -> bool:
        """Whether the decoder is libjpeg, whatever the file is."""
        return self.image.format in ("JPEG", "MPO")

    @cached_property
    def sha256(self) -> bytes:
        """See `identify`."""
        return digest_of(self.data, self.container)

    def orientation(self) -> int:
        """EXIF orientation 1 to 8 still to be applied, by what has been read so far.

        From the container's bytes where they say, as identity does. Of a PNG of broken structure, notes behind the
        pixels are known once those are loaded; TIFF is turned while it loads.
        """
        if self.container:
            return self.container.orientation
        if self.image.format == "TIFF":
            return 1
        exif, profile = self.image.info.get("exif"), self.image.info.get("Raw profile type exif")
        if exif is None and isinstance(profile, str):
            exif = from_hex(profile.encode("latin-1", "replace"))
        xmp = self.image.info.get("XML:com.adobe.xmp") or self.image.info.get("xmp")
        stated = stated_orientation(exif, xmp.encode("utf-8", "replace") if isinstance(xmp, str) else xmp)
        return stated or (self.raw.orientation if self.raw else 1)

    def load(self) -> None:
        """Decode. Raises what `failure_of` can tell the kind of, also where the decoder papered over missing data."""
        self.image.load()
        shown, container = (self.raw.preview, self.raw.container) if self.raw else (self.data, self.container)
        exif = self.image.info.get("exif") or b""
        if wrong := damage(str(self.image.format), shown, container, exif):
            raise Refused("corrupt", f"a broken {self.format} file: {wrong}")


def open_file(data: bytes, pixels: int) -> Opened:
    """Read the header of a picture's file, nothing else. Raises what `failure_of` can tell the kind of."""
    raw = read_raw(data)
    image = open_picture(raw.preview if raw else data, pixels)
    return Opened(data, image, read_container(data), raw)


def upright_size(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    """(width, height) after an orientation was applied."""
    return size if orientation < 5 else (size[1], size[0])

"""A static gallery: pages of 120 photos with their captions, thumbnails beside them, nothing from elsewhere."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from html import escape
from io import BytesIO
from itertools import islice
from pathlib import Path

from blipq.models.selection import Photo
from blipq.producer.export.aside import write, writing
from blipq.producer.export.outcome import Outcome

PAGE = 120
SIDE = 360  # pixels, the larger side of a thumbnail
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<title>{title}</title><style>
:root{{color-scheme:light dark;--ink:#1b1f24;--soft:#5c6670;--paper:#fafaf8;--card:#fff;--edge:#0001}}
@media (prefers-color-scheme:dark){{:root{{--ink:#eceef0;--soft:#9aa4ae;--paper:#121416;--card:#1c1f22;--edge:#fff1}}}}
body{{margin:0;padding:1.5rem;background:var(--paper);color:var(--ink);font:16px/1.45 system-ui,sans-serif}}
header,nav{{display:flex;gap:1rem;align-items:baseline;flex-wrap:wrap;margin:0 0 1.25rem}}
h1{{font-size:1.25rem;margin:0}} nav a{{color:inherit}} .soft{{color:var(--soft)}}
main{{display:grid;gap:1rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,16rem),1fr))}}
figure{{margin:0;background:var(--card);border-radius:.6rem;overflow:hidden;box-shadow:0 1px 3px var(--edge)}}
img{{display:block;width:100%;aspect-ratio:4/3;object-fit:cover;background:var(--edge)}}
.none{{display:grid;place-items:center;aspect-ratio:4/3;color:var(--soft);background:var(--edge)}}
figcaption{{padding:.7rem .85rem;white-space:pre-line}} small{{display:block;color:var(--soft);overflow-wrap:anywhere}}
</style></head><body>
<header><h1>{title}</h1><span class="soft">page {number}</span></header>
"""


def write_html(photos: Iterable[Photo], folder: Path, title: str, max_pixels: int, outcome: Outcome) -> None:
    """Write `index.html`, `page-2.html` and so on, each when its photos are through: memory holds one page."""
    (folder / "thumbnails").mkdir(parents=True, exist_ok=True)
    pages = _pages(photos)
    page = next(pages, [])
    number = 1
    while True:
        following = next(pages, [])
        with writing(folder / _name(number)) as out:
            out.write(_HEAD.format(title=escape(title), number=number).encode())
            out.write(_links(number, more=bool(following)).encode() + b"<main>\n")
            for photo in page:
                out.write(_figure(photo, _thumbnail(photo, folder, max_pixels)).encode())
                outcome.written += 1
            out.write(b"</main>\n" + _links(number, more=bool(following)).encode() + b"</body></html>\n")
        if not following:
            return
        page, number = following, number + 1


def _figure(photo: Photo, thumbnail: str | None) -> str:
    name = escape(os.path.basename(photo.path))
    said = escape(photo.caption)
    by = "a person" if photo.source == "human" else escape(photo.model or "")
    picture = (
        f'<img loading="lazy" src="{thumbnail}" alt="{said}">' if thumbnail else '<div class="none">no preview</div>'
    )
    origin = f'<small title="{escape(photo.path)}">{name} · {by}</small>'
    return f"<figure>{picture}<figcaption>{said}{origin}</figcaption></figure>\n"


def _links(number: int, *, more: bool) -> str:
    before = f'<a rel="prev" href="{_name(number - 1)}">Previous</a>' if number > 1 else ""
    after = f'<a rel="next" href="{_name(number + 1)}">Next</a>' if more else ""
    return f"<nav>{before}{after}</nav>\n" if before or after else ""


def _name(number: int) -> str:
    return "index.html" if number == 1 else f"page-{number}.html"


def _thumbnail(photo: Photo, folder: Path, max_pixels: int) -> str | None:
    """The thumbnail's address within the folder; None where the picture cannot be shown."""
    from PIL import Image, ImageOps

    shown = hashlib.blake2b(b"%b %d %d" % (photo.file, photo.size, photo.mtime_ns), digest_size=12)
    name = f"thumbnails/{shown.hexdigest()}.jpg"  # of the file as it is: an older export's may be there
    path = folder / name
    if path.exists():
        return name
    try:
        with Image.open(os.fsdecode(photo.file), formats=_FORMATS) as picture:
            if picture.width * picture.height > max_pixels:
                return None
            picture.draft("RGB", (SIDE, SIDE))
            small = ImageOps.exif_transpose(picture)
            small.thumbnail((SIDE, SIDE))
            held = BytesIO()
            small.convert("RGB").save(held, "JPEG", quality=82)
    except Exception:  # decoders raise whatever they like; a gallery shows the caption without the picture
        return None
    write(os.fsencode(path), held.getvalue())
    return name


def _pages(photos: Iterable[Photo]) -> Iterator[list[Photo]]:
    source = iter(photos)
    while page := list(islice(source, PAGE)):
        yield page

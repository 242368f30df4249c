"""Captions that people wrote elsewhere come in as theirs, where they say something else than the ledger does.

First each text finds the content of its photo; then what was written of one content, through all of its files, is
weighed at once. A caption belongs to a content: where two photos of one content come with different words, neither is
taken, since the other would be lost.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from blipq.models import contents, edits
from blipq.models.database import Ledger
from blipq.models.edits import Said
from blipq.models.intake import Found
from blipq.models.results import Content
from blipq.producer.edit import author, new_batch
from blipq.producer.errors import UserError
from blipq.producer.import_conflicts import BATCH, NOBODY, Judge
from blipq.producer.import_sources import TABLES, Given, Left, read
from blipq.producer.import_spool import Spool, Written
from blipq.producer.scan import Refused, display, look
from blipq.producer.wording import words

CHUNK = 1000  # captions a transaction, and pictures that one process identifies
LISTED = 20


@dataclass
class Imported:
    """What came of an import: `found` is the sum of all the other counts but `failed`."""

    batch: str
    found: int = 0
    changed: int = 0
    known: int = 0  # say what the ledger says already
    unknown: int = 0  # of photos that are neither here nor in the ledger
    conflict: int = 0
    empty: int = 0
    bad: int = 0
    reasons: list[tuple[str, str]] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """Texts that could not be taken."""
        return self.unknown + self.conflict + self.empty + self.bad

    def refuse(self, where: str, kind: str, why: str) -> None:
        """Count a text that could not be taken, and remember why."""
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.reasons) < LISTED:
            self.reasons.append((where, why))


def import_captions(
    ledger: Ledger, paths: Sequence[str], extension: str, author_name: str | None, *, dry_run: bool
) -> Imported:
    """Take captions in as one batch of a person's edits; what the ledger says already makes none.

    Raises UserError where there is nothing to read, or a table has no columns for photos and captions.
    """
    imported = Imported(new_batch(BATCH))
    with Spool() as spool:
        given = read(paths, extension)
        while page := list(islice(given, CHUNK)):
            imported.found += len(page)
            spool.add(_placed(ledger, page, imported, dry_run=dry_run))
        if not imported.found:
            raise UserError(
                f"no captions in {' '.join(paths)}: looked for {extension} beside photos, and for {TABLES[0]}"
            )
        judge = Judge(extension)
        together = spool.contents()
        while several := list(islice(together, CHUNK)):
            _take_in(ledger, several, judge, author_name or author(), imported, dry_run=dry_run)
    return imported


def _placed(ledger: Ledger, page: Sequence[Given | Left], imported: Imported, *, dry_run: bool) -> list[Written]:
    """The texts of a page whose photos' contents are known now; the others are counted."""
    for one in page:
        if isinstance(one, Left):
            imported.refuse(one.where, one.kind, one.reason)
    given = [one for one in page if isinstance(one, Given)]
    keys, lost = _keys(ledger, list(dict.fromkeys(photo for one in given for photo in one.photos)), dry_run=dry_run)
    with ledger.read() as connection:
        several = [keys[photo] for one in given if len(one.photos) > 1 for photo in one.photos if photo in keys]
        said = edits.said(connection, [int(key) for key in several if key.isdecimal()])
    placed = []
    for one in given:
        photos = [photo for photo in one.photos if photo in keys]
        if len(photos) > 1:
            photos = _meant(photos, keys, said, one.text)
        if len(photos) == 1:
            placed.append(Written(keys[photos[0]], photos[0], one.text, one.where, one.in_table))
        elif photos:
            names = [display(os.path.basename(photo)) for photo in photos]
            why = f"it may be of {' or '.join(names)}: call it {names[0]}.… as its photo"
            imported.refuse(one.where, "conflict", why)
        else:
            kind, why = lost[one.photos[0]]
            imported.refuse(one.where, kind, f"{display(one.photos[0])}: {why}")
    return placed


def _meant(photos: Sequence[bytes], keys: Mapping[bytes, str], said: Mapping[int, Said], text: str) -> list[bytes]:
    """Of which of some photos of one name a text is: of the one that has it as its caption, or alone has a caption."""
    of = {photo: said.get(int(keys[photo]), NOBODY) if keys[photo].isdecimal() else NOBODY for photo in photos}
    named = [
        photo for photo in photos if words(text) in {words(each) for each in (of[photo].human or "", *of[photo].models)}
    ]
    captioned = [photo for photo in photos if of[photo] != NOBODY]
    return next((some for some in (named[:1], captioned) if len(some) == 1), list(photos))


def _keys(
    ledger: Ledger, photos: Sequence[bytes], *, dry_run: bool
) -> tuple[dict[bytes, str], dict[bytes, tuple[str, str]]]:
    """What names each photo's content, an image's id or else a hash; and kind and reason where that cannot be told."""
    looked = {photo: look(photo) for photo in photos}
    found = {photo: seen for photo, seen in looked.items() if isinstance(seen, Found)}
    with ledger.read() as connection:
        by_path = contents.known(connection, list(found.values()))
        absent = [seen.path for seen in looked.values() if isinstance(seen, Refused)]
        by_path |= contents.last_known(connection, absent)  # on a disk that is not there now, or of another host
    fresh, bad = _identify([seen for seen in found.values() if seen.path not in by_path])
    keys = {photo: str(by_path[seen.path]) for photo, seen in looked.items() if seen.path in by_path}
    if dry_run:
        with ledger.read() as connection:
            known = contents.by_hash(connection, [content.sha256 for _, content in fresh])
        named = {one.path: str(known.get(content.sha256, f"new {content.sha256.hex()}")) for one, content in fresh}
    else:
        with ledger.write() as connection:
            named = {path: str(image_id) for path, image_id in contents.record(connection, fresh).items()}
    keys |= {photo: named[seen.path] for photo, seen in found.items() if seen.path in named}
    lost = {photo: ("unknown", seen.reason) for photo, seen in looked.items() if isinstance(seen, Refused)}
    lost |= {photo: ("bad", bad[seen.path]) for photo, seen in found.items() if seen.path in bad}
    return keys, lost


def _take_in(
    ledger: Ledger, several: Sequence[list[Written]], judge: Judge, who: str, imported: Imported, *, dry_run: bool
) -> None:
    ids = [int(together[0].key) for together in several if together[0].key.isdecimal()]
    with ledger.read() as connection:
        said, copies = edits.said(connection, ids), contents.copies(connection, ids)
    texts: dict[int, str | None] = {}
    for together in several:
        image_id = int(together[0].key) if together[0].key.isdecimal() else 0
        verdict = judge.weigh(together, said.get(image_id, NOBODY), copies.get(image_id, ()))
        imported.known += verdict.known
        for one, why in verdict.conflicts:
            imported.refuse(one.where, "conflict", why)
        if verdict.text is not None:
            imported.changed += 1
            texts[image_id] = verdict.text
    if texts and not dry_run:
        with ledger.write() as connection:
            edits.write_edits(connection, texts, who, imported.batch)


def _identify(found: Sequence[Found]) -> tuple[list[tuple[Found, Content]], dict[str, str]]:
    """What files hold, by a process that may decode them, and why others cannot be told."""
    if not found:
        return [], {}
    paths = b"\0".join(one.raw if one.raw is not None else os.fsencode(one.path) for one in found)
    answer = subprocess.run(
        [sys.executable, "-P", "-m", "blipq.worker.identify"], input=paths, stdout=subprocess.PIPE, check=True
    )
    good, bad = [], {}
    for one, line in zip(found, answer.stdout.splitlines(), strict=True):
        said = json.loads(line)
        if "sha256" in said:
            said["sha256"] = bytes.fromhex(said["sha256"])
            good.append((one, Content(**said)))
        else:
            bad[one.path] = said["message"]
    return good, bad

"""What people make of captions: rows that are only ever added. The newest row of an image counts; one without a text
takes the person's caption back."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, insert, select

from blipq.models.rows import among
from blipq.models.schema import caption, edit, image

CHUNK = 2000  # images a transaction


class NoSuchBatch(LookupError):
    """A name that no bulk edit has."""


@dataclass(frozen=True)
class Undone:
    """What came of undoing a batch: images that are as before, and images that somebody has edited since."""

    images: int
    kept: int


def write_edit(
    connection: Connection,
    image_id: int,
    text: str | None,
    author: str,
    batch: str | None = None,
    recipe_id: int | None = None,
) -> None:
    """Make a text the caption of an image, whatever models say of it; None takes the person's caption back.

    `recipe_id` notes whose caption the person saw.
    """
    values = {"image_id": image_id, "text": text, "author": author, "batch": batch, "recipe_id": recipe_id}
    connection.execute(insert(edit).values(**values))


def write_edits(connection: Connection, texts: Mapping[int, str | None], author: str, batch: str) -> int:
    """Make texts the captions of images, as one batch; those that have them already are left. How many changed.

    Images that were forgotten meanwhile are left out.
    """
    there = _lock(connection, texts)
    now = current(connection, there)
    rows = [
        {"image_id": image_id, "text": text, "author": author, "batch": batch}
        for image_id, text in sorted(texts.items())
        if image_id in there and now.get(image_id) != text
    ]
    if rows:
        connection.execute(insert(edit), rows)
    return len(rows)


def current(connection: Connection, image_ids: Iterable[int]) -> dict[int, str | None]:
    """The newest edit of each of some images (2,000 at most) that people have edited."""
    newest = select(func.max(edit.c.id)).where(edit.c.image_id.in_(list(image_ids))).group_by(edit.c.image_id)
    rows = connection.execute(select(edit.c.image_id, edit.c.text).where(edit.c.id.in_(newest)))
    return {row.image_id: row.text for row in rows}


@dataclass(frozen=True)
class Said:
    """What is said of an image: a person's caption that counts, in which batch it came, and what models wrote."""

    human: str | None = None
    batch: str | None = None
    models: tuple[str, ...] = ()


def said(connection: Connection, image_ids: Iterable[int]) -> dict[int, Said]:
    """What is said of some images (2,000 at most), of those of which anything is."""
    ids = list(image_ids)
    newest = select(func.max(edit.c.id)).where(edit.c.image_id.in_(ids)).group_by(edit.c.image_id)
    people = connection.execute(select(edit.c.image_id, edit.c.text, edit.c.batch).where(edit.c.id.in_(newest)))
    human = {row.image_id: (row.text, row.batch) for row in people if row.text is not None}
    models: dict[int, list[str]] = defaultdict(list)
    for row in connection.execute(select(caption.c.image_id, caption.c.text).where(caption.c.image_id.in_(ids))):
        models[row.image_id].append(row.text)
    found = {image_id: Said(models=tuple(texts)) for image_id, texts in models.items()}
    for image_id, (text, batch) in human.items():
        found[image_id] = Said(text, batch, tuple(models.get(image_id, ())))
    return found


def ever_said(connection: Connection, image_id: int) -> list[str]:
    """Every text that a model or a person ever gave an image."""
    people = select(edit.c.text).where(edit.c.image_id == image_id, edit.c.text.is_not(None))
    models = select(caption.c.text).where(caption.c.image_id == image_id)
    return [*connection.scalars(people), *connection.scalars(models)]


def _lock(connection: Connection, image_ids: Iterable[int]) -> set[int]:
    """Those of some images that are there: nobody forgets them, or writes edits of them, until the transaction ends."""
    there = select(image.c.id).where(among(connection, image.c.id, set(image_ids))).order_by(image.c.id)
    return set(connection.scalars(there.with_for_update(key_share=True)))


def of_batch(connection: Connection, image_ids: Iterable[int], batch: str) -> set[int]:
    """Those of some images (2,000 at most) that a batch has edited."""
    found = select(edit.c.image_id).where(edit.c.image_id.in_(list(image_ids)), edit.c.batch == batch)
    return set(connection.scalars(found))


def undo(connection: Connection, image_id: int, author: str) -> str | None:
    """Take an image's newest edit back: what it had before counts again, which is returned (None: a model's caption).

    Done twice, it brings the edit again. Without an edit nothing happens.
    """
    _lock(connection, [image_id])
    newest = select(edit.c.text).where(edit.c.image_id == image_id).order_by(edit.c.id.desc()).limit(2)
    texts: Sequence[str | None] = connection.scalars(newest).all()
    if not texts:
        return None
    before = texts[1] if len(texts) > 1 else None
    write_edit(connection, image_id, before, author)
    return before


def images_of(connection: Connection, batch: str, after: int = 0) -> list[int]:
    """Images of a batch, in order, from behind one: 2,000 at most.

    Raises NoSuchBatch.
    """
    found = select(edit.c.image_id).where(edit.c.batch == batch, edit.c.image_id > after)
    images = list(connection.scalars(found.distinct().order_by(edit.c.image_id).limit(CHUNK)))
    if not images and not after:
        raise NoSuchBatch(f"no bulk edit {batch}: the column `batch` of the table `edit` names them")
    return images


def undo_batch(connection: Connection, batch: str, images: Sequence[int], author: str, undoing: str) -> Undone:
    """Take a batch's edits of some images back, as a batch that is called `undoing`; what was edited since is kept."""
    newest = select(func.max(edit.c.id)).where(edit.c.image_id.in_(images)).group_by(edit.c.image_id)
    mine = select(edit.c.image_id).where(edit.c.id.in_(newest), edit.c.batch == batch)
    still = set(connection.scalars(mine))
    last = (
        select(func.max(edit.c.id))
        .where(edit.c.image_id.in_(still), (edit.c.batch != batch) | edit.c.batch.is_(None))
        .group_by(edit.c.image_id)
    )
    rows = connection.execute(select(edit.c.image_id, edit.c.text).where(edit.c.id.in_(last)))
    before: dict[int, str | None] = {row.image_id: row.text for row in rows}
    return Undone(
        write_edits(connection, {image_id: before.get(image_id) for image_id in still}, author, undoing),
        len(images) - len(still),
    )

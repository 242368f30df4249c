"""What the pages show of photos: pages by key, search, one photo with all that was said of it, models side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, column, func, literal, select, table, union

from blipq.models.schema import alias, caption, edit, failure, file, image, item, job, recipe, worker
from blipq.models.upload import PREFIX

ONLY = ("failed", "flagged", "edited", "waiting")
NEAR = 4000  # photos looked at one by one, 20 ms, before whole tables are searched: common words are found in them

_PHOTOS = table(
    "photos",
    *map(
        column,
        ("file_id", "path", "image_id", "caption", "source", "model", "score", "flag", "width", "height", "format"),
    ),
)


@dataclass(frozen=True)
class Photo:
    """A file with its current caption: the person's, else the promoted model's, else the newest."""

    file_id: int
    path: str
    image_id: int | None
    caption: str | None
    source: str | None  # human, model
    model: str | None
    score: float | None
    flag: str | None
    width: int | None
    height: int | None
    format: str | None
    sha256: bytes | None

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return self.path.rpartition("/")[2]

    @property
    def key(self) -> str | None:
        """What its thumbnail is called."""
        return None if self.sha256 is None else self.sha256.hex()


@dataclass(frozen=True)
class Filter:
    """Which photos: whose captions hold every word of `text`, of a job, by a model, and `only` one of `ONLY`."""

    text: str = ""
    job: int | None = None
    model: str = ""
    only: str = ""


@dataclass(frozen=True)
class Pair:
    """What two recipes' models said of a photo."""

    photo: Photo
    before: str
    after: str


def page(connection: Connection, chosen: Filter, before: int | None, limit: int) -> list[Photo]:
    """Photos by file id, the newest first, from behind one; where nothing was asked for, only those with a caption.

    Cost on SQLite over 100,000 captions: see docs/http.md. A search reads every caption once.
    """
    exact, wide = _exact(chosen), _wide(chosen)
    newest = before if before is not None else (connection.scalar(select(func.max(file.c.id))) or 0) + 1
    query = _photos().where(*exact, _PHOTOS.c.file_id < newest).order_by(_PHOTOS.c.file_id.desc()).limit(limit)
    near = _read(connection, query.where(_PHOTOS.c.file_id >= newest - NEAR))
    return near if len(near) == limit else _read(connection, query.where(*wide))


def photo(connection: Connection, file_id: int) -> Photo | None:
    """One photo; None where there is none of that number."""
    found = _read(connection, _photos().where(_PHOTOS.c.file_id == file_id))
    return found[0] if found else None


def neighbours(connection: Connection, chosen: Filter, file_id: int) -> tuple[int | None, int | None]:
    """The file ids before and behind a photo on the pages of a filter."""
    among = select(_PHOTOS.c.file_id).where(*_exact(chosen), *_wide(chosen))
    newer = among.where(_PHOTOS.c.file_id > file_id).order_by(_PHOTOS.c.file_id).limit(1)
    older = among.where(_PHOTOS.c.file_id < file_id).order_by(_PHOTOS.c.file_id.desc()).limit(1)
    return connection.scalar(newer), connection.scalar(older)


def captions_of(connection: Connection, image_id: int) -> Sequence[Any]:
    """Every model's caption of an image, the newest first: model, prompt, text, score, flag, device, created_at."""
    return connection.execute(
        select(
            recipe.c.model,
            recipe.c.prompt,
            recipe.c.num_beams,
            caption.c.recipe_id,
            caption.c.text,
            caption.c.score,
            caption.c.flag,
            caption.c.precision,
            worker.c.device,
            caption.c.created_at,
        )
        .join(recipe, recipe.c.id == caption.c.recipe_id)
        .outerjoin(worker, worker.c.id == caption.c.worker_id)
        .where(caption.c.image_id == image_id)
        .order_by(caption.c.id.desc())
    ).all()


def edits_of(connection: Connection, image_id: int) -> Sequence[Any]:
    """What people made of an image's caption, the newest first: text, author, created_at."""
    query = select(edit.c.text, edit.c.author, edit.c.created_at).where(edit.c.image_id == image_id)
    return connection.execute(query.order_by(edit.c.id.desc()).limit(50)).all()


def failures_of(connection: Connection, file_id: int) -> Sequence[Any]:
    """Why a photo has no caption, by job: job, kind, message, attempts, created_at."""
    query = select(failure.c.job_id, failure.c.kind, failure.c.message, failure.c.attempts, failure.c.created_at)
    return connection.execute(query.where(failure.c.file_id == file_id).order_by(failure.c.id.desc())).all()


def failed(connection: Connection, job_id: int | None, before: int | None, limit: int) -> Sequence[Any]:
    """Failures, the newest first, from behind one: id, job_id, file_id, path, kind, message, attempts."""
    columns = (failure.c.id, failure.c.job_id, failure.c.file_id, file.c.path, failure.c.kind, failure.c.message)
    query = select(*columns, failure.c.attempts).join(file, file.c.id == failure.c.file_id)
    query = query.where(~file.c.path.startswith(PREFIX))
    if job_id is not None:
        query = query.where(failure.c.job_id == job_id)
    if before is not None:
        query = query.where(failure.c.id < before)
    return connection.execute(query.order_by(failure.c.id.desc()).limit(limit)).all()


def failed_jobs(connection: Connection) -> Sequence[Any]:
    """The newest 20 jobs with failures, and how many of each kind: job, source, kind, count."""
    recent = select(failure.c.job_id).distinct().order_by(failure.c.job_id.desc()).limit(20)
    return connection.execute(
        select(failure.c.job_id.label("job"), job.c.source, failure.c.kind, func.count().label("count"))
        .join(job, job.c.id == failure.c.job_id)
        .where(failure.c.job_id.in_(recent), ~job.c.source.startswith(PREFIX))
        .group_by(failure.c.job_id, job.c.source, failure.c.kind)
        .order_by(failure.c.job_id.desc(), func.count().desc())
    ).all()


def files_of(connection: Connection, sha256: bytes) -> list[bytes]:
    """Where a content lies, at most three of its files: what a thumbnail is made from."""
    rows = connection.execute(
        select(file.c.path, file.c.path_raw)
        .join(image, image.c.id == file.c.image_id)
        .where(image.c.sha256 == sha256, ~file.c.path.startswith(PREFIX))
        .order_by(file.c.id.desc())
        .limit(3)
    )
    return [bytes(row.path_raw) if row.path_raw is not None else row.path.encode() for row in rows]


def models(connection: Connection) -> list[str]:
    """The models that captioned something, by name."""
    used = select(caption.c.id).where(caption.c.recipe_id == recipe.c.id).exists()
    return list(connection.scalars(select(recipe.c.model).where(used).distinct().order_by(recipe.c.model)))


def named_models(connection: Connection) -> list[str]:
    """Names that lead to a model that is known here: models that captioned something, and promoted names."""
    return sorted({*models(connection), *connection.scalars(select(alias.c.name))})


def recipes(connection: Connection) -> Sequence[Any]:
    """Recipes that captioned something, the newest first: id, model, prompt, num_beams, captions."""
    count = func.count(caption.c.id).label("captions")
    return connection.execute(
        select(recipe.c.id, recipe.c.model, recipe.c.prompt, recipe.c.num_beams, count)
        .join(caption, caption.c.recipe_id == recipe.c.id)
        .group_by(recipe.c.id, recipe.c.model, recipe.c.prompt, recipe.c.num_beams)
        .order_by(recipe.c.id.desc())
        .limit(100)
    ).all()


def pairs(
    connection: Connection, first: int, second: int, *, changed: bool, before: int | None, limit: int
) -> list[Pair]:
    """Photos that two recipes captioned, the newest first; with `changed` only where they differ by a sign.

    The captions are the models' own: a person's edit has no say.
    """
    one, other = caption.alias(), caption.alias()
    query = (
        select(*_columns(), one.c.text, other.c.text)
        .select_from(_PHOTOS)
        .join(image, image.c.id == _PHOTOS.c.image_id)
        .join(one, (one.c.image_id == image.c.id) & (one.c.recipe_id == first))
        .join(other, (other.c.image_id == image.c.id) & (other.c.recipe_id == second))
        .order_by(_PHOTOS.c.file_id.desc())
        .limit(limit)
    )
    if changed:
        query = query.where(one.c.text != other.c.text)
    if before is not None:
        query = query.where(_PHOTOS.c.file_id < before)
    return [Pair(Photo(*row[:-2]), row[-2], row[-1]) for row in connection.execute(query)]


def agreement(connection: Connection, first: int, second: int) -> tuple[int, int]:
    """How many images two recipes captioned, and of how many they said the same."""
    one, other = caption.alias(), caption.alias()
    same = func.coalesce(func.sum(func.cast(one.c.text == other.c.text, type_=literal(0).type)), 0)
    row = connection.execute(
        select(func.count(), same)
        .select_from(one)
        .join(other, (other.c.image_id == one.c.image_id) & (other.c.recipe_id == second))
        .where(one.c.recipe_id == first)
    ).one()
    return int(row[0]), int(row[1])


def _columns() -> list[ColumnElement[Any]]:
    return [*_PHOTOS.c, image.c.sha256]


def _photos() -> Select[Any]:
    return select(*_columns()).select_from(_PHOTOS.outerjoin(image, image.c.id == _PHOTOS.c.image_id))


def _read(connection: Connection, query: Select[Any]) -> list[Photo]:
    return [Photo(*row) for row in connection.execute(query)]


def _exact(chosen: Filter) -> list[ColumnElement[bool]]:
    """What must be true of a photo's current caption."""
    conditions = [_holds(_PHOTOS.c.caption, chosen.text.split())] if chosen.text else []
    if chosen.job is not None:
        mine = (item.c.file_id == _PHOTOS.c.file_id) & (item.c.job_id == chosen.job)
        conditions.append(select(item.c.id).where(mine).exists())
    if chosen.model:
        conditions += [_PHOTOS.c.model == chosen.model, _PHOTOS.c.source == "model"]
    if chosen.only == "flagged":
        conditions += [_PHOTOS.c.flag.is_not(None), _PHOTOS.c.source == "model"]
    elif chosen.only == "edited":
        conditions.append(_PHOTOS.c.source == "human")
    elif chosen.only == "failed":
        conditions.append(select(failure.c.id).where(failure.c.file_id == _PHOTOS.c.file_id).exists())
    elif chosen.only == "waiting":
        waits = (item.c.file_id == _PHOTOS.c.file_id) & (item.c.state == "queued")
        conditions.append(select(item.c.id).where(waits).exists())
    else:
        conditions.append(_PHOTOS.c.caption.is_not(None))
    return conditions


def _wide(chosen: Filter) -> list[ColumnElement[bool]]:
    """What the tables say faster than the view: true of every photo that `_exact` is true of, and of some others."""
    conditions: list[ColumnElement[bool]] = []
    words = chosen.text.split()
    if words:
        found = union(*(select(t.c.image_id).where(_holds(t.c.text, words)) for t in (caption, edit))).subquery()
        conditions.append(_PHOTOS.c.image_id.in_(select(found.c.image_id)))
    if chosen.job is not None:
        conditions.append(_PHOTOS.c.file_id.in_(select(item.c.file_id).where(item.c.job_id == chosen.job)))
    if chosen.model:
        of_model = select(recipe.c.id).where(recipe.c.model == chosen.model)
        conditions.append(_PHOTOS.c.image_id.in_(select(caption.c.image_id).where(caption.c.recipe_id.in_(of_model))))
    if chosen.only == "flagged":
        conditions.append(_PHOTOS.c.image_id.in_(select(caption.c.image_id).where(caption.c.flag.is_not(None))))
    elif chosen.only == "edited":
        conditions.append(_PHOTOS.c.image_id.in_(select(edit.c.image_id)))
    elif chosen.only == "failed":
        conditions.append(_PHOTOS.c.file_id.in_(select(failure.c.file_id)))
    elif chosen.only == "waiting":
        conditions.append(_PHOTOS.c.file_id.in_(select(item.c.file_id).where(item.c.state == "queued")))
    return conditions


def _holds(text: ColumnElement[str], words: Sequence[str]) -> ColumnElement[bool]:
    """Whether a text holds every word, whatever their case (on SQLite that of ASCII letters alone)."""
    return and_(*(text.icontains(word, autoescape=True) for word in words))

"""Captions beside each other: what two jobs said of the same photos, and what a person made of a job's captions."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select, union

from blipq.models.control import NoSuchJob
from blipq.models.schema import caption, edit, file, image, item, job, recipe


class NothingToCompare(Exception):
    """Two jobs have no photo in common; one line."""


@dataclass(frozen=True)
class Pair:
    """What two jobs said of a photo."""

    path: str
    before: str
    after: str

    @property
    def changed(self) -> bool:
        """Whether they differ by a sign."""
        return self.before != self.after


def compare(connection: Connection, first: int, second: int) -> list[Pair]:
    """The captions of the photos that either job had to do and that both their recipes captioned, by path.

    Captions are the models' own: a person's edit has no say. Raises NoSuchJob, NothingToCompare.
    """
    recipes = [_recipe(connection, job_id) for job_id in (first, second)]
    if recipes[0] == recipes[1]:
        raise NothingToCompare(f"jobs {first} and {second} have one recipe: they share their captions")
    files = union(*(select(item.c.file_id).where(item.c.job_id == job_id) for job_id in (first, second))).subquery()
    before, after = caption.alias(), caption.alias()
    rows = connection.execute(
        select(file.c.path, before.c.text, after.c.text)
        .select_from(files.join(file, file.c.id == files.c.file_id))
        .join(before, (before.c.image_id == file.c.image_id) & (before.c.recipe_id == recipes[0]))
        .join(after, (after.c.image_id == file.c.image_id) & (after.c.recipe_id == recipes[1]))
        .order_by(file.c.path)
    )
    pairs = [Pair(*row) for row in rows]
    if not pairs:
        raise NothingToCompare(f"jobs {first} and {second} have no captioned photo in common")
    return pairs


def models(connection: Connection, *job_ids: int) -> list[str]:
    """The models of some jobs, as they were named when their recipes were first used. Raises NoSuchJob."""
    names = []
    for job_id in job_ids:
        named = select(recipe.c.model).where(recipe.c.id == _recipe(connection, job_id))
        names.append(str(connection.execute(named).scalar_one()))
    return names


def corrected(connection: Connection, job_id: int) -> list[tuple[str, str]]:
    """Path and caption of the photos of a job whose caption a person wrote, once a content. Raises NoSuchJob."""
    if connection.scalar(select(job.c.id).where(job.c.id == job_id)) is None:
        raise NoSuchJob(f"no job {job_id}: `blipq status` lists them")
    last = select(func.max(edit.c.id)).group_by(edit.c.image_id)
    rows = connection.execute(
        select(func.min(file.c.path), edit.c.text)
        .select_from(item.join(file, file.c.id == item.c.file_id).join(image, image.c.id == file.c.image_id))
        .join(edit, edit.c.image_id == image.c.id)
        .where(item.c.job_id == job_id, edit.c.id.in_(last), edit.c.text.is_not(None))
        .group_by(image.c.id, edit.c.text)
        .order_by(image.c.id)
    )
    return [(*row,) for row in rows]


def _recipe(connection: Connection, job_id: int) -> int:
    row = connection.execute(select(job.c.recipe_id, job.c.kind).where(job.c.id == job_id)).first()
    if row is None:
        raise NoSuchJob(f"no job {job_id}: `blipq status` lists them")
    if row.kind != "caption":
        raise NothingToCompare(f"job {job_id} trains: give the numbers of captioning jobs")
    if row.recipe_id is None:
        raise NothingToCompare(f"job {job_id} has captioned nothing yet")
    return int(row.recipe_id)

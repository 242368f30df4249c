"""Uploads that make a job: kept as files in $BLIPQ_HOME/uploads, so that they are photos like any other afterwards."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from blipq.models import intake
from blipq.models.intake import Found
from blipq.models.schema import PRIORITIES
from blipq.producer.enqueue import Request as Wanted
from blipq.producer.enqueue import call
from blipq.producer.serve.forms import file_name
from blipq.producer.serve.house import House


async def enqueue(house: House, pictures: Sequence[UploadFile], wanted: Wanted) -> int:
    """Keep pictures and make a job of them. Raises UnknownModel, BadRecipe, LedgerError."""
    pinned, recipe_id = await house.recipe(wanted)
    folder = house.settings.home / "uploads" / f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    found = await run_in_threadpool(_keep, folder, pictures)
    parameters: dict[str, Any] = {
        "mode": "fill",
        "precision": "auto",
        "batch_size": None,
        "paths": [str(folder)],
        "recipe": wanted.recipe,
    }

    def act(connection: Connection) -> tuple[int, Sequence[int]]:
        number = intake.open_job(
            connection,
            kind="caption",
            source=f"{len(found)} uploaded" if len(found) > 1 else f"uploaded {Path(found[0].path).name}",
            model=pinned,
            recipe_id=recipe_id,
            parameters=parameters,
            priority=PRIORITIES[wanted.priority],
        )
        taken = intake.take_in(connection, number, recipe_id, found, again=False, so_far=0)
        intake.close_job(connection, number)
        return number, taken.units

    try:
        number, units = await house.write(act)
    except BaseException:
        await run_in_threadpool(shutil.rmtree, folder, ignore_errors=True)
        raise
    await run_in_threadpool(call, house.settings, units)
    return number


def _keep(folder: Path, pictures: Sequence[UploadFile]) -> list[Found]:
    folder.mkdir(mode=0o700, parents=True)
    found = []
    for picture in pictures:
        path = _free(folder / file_name(picture.filename))
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            shutil.copyfileobj(picture.file, opened, 1 << 20)
        seen = path.stat()
        found.append(Found(str(path), seen.st_size, seen.st_mtime_ns))
    return found


def _free(path: Path) -> Path:
    """The path, or where two files of an upload have one name, another beside it."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_stem(f"{path.stem} ({number})")
    return free

"""What must hold when the storm is over, read from SQL and from the witness."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import witness  # noqa: F401 (what the numbers in captions mean)
from house import House
from sqlalchemy import text

from blipq.models.migrate import ensure_schema, upgrade


@dataclass(frozen=True)
class Outcome:
    """The sums of a storm."""

    pictures: int
    captioned: int
    failed: int
    lost: int
    doubled: int
    mixed_up: int
    stale: int
    repeats: int


def watch_fences(house: House) -> None:
    """Have the database itself note each caption whose writer did not hold the picture's unit when it wrote."""
    house.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if house.database_url:
        upgrade(house.ledger)
    else:
        ensure_schema(house.ledger)
    owned = """EXISTS (SELECT 1 FROM file JOIN item ON item.file_id = file.id JOIN unit ON unit.id = item.unit_id
               WHERE file.image_id = NEW.image_id AND unit.state = 'running' AND unit.worker_id = NEW.worker_id)"""
    note = "INSERT INTO stale_write VALUES (NEW.image_id, NEW.worker_id);"
    statements = ["CREATE TABLE stale_write (image_id bigint, worker_id bigint)"]
    if house.database_url:
        body = f"BEGIN IF NOT {owned} THEN {note} END IF; RETURN NULL; END"
        statements += [
            f"CREATE FUNCTION watch_fence() RETURNS trigger LANGUAGE plpgsql AS $$ {body} $$",
            "CREATE TRIGGER fence AFTER INSERT ON caption FOR EACH ROW EXECUTE FUNCTION watch_fence()",
        ]
    else:
        statements += [f"CREATE TRIGGER fence AFTER INSERT ON caption WHEN NOT {owned} BEGIN {note} END"]
    with house.ledger.write() as connection:
        for statement in statements:
            connection.execute(text(statement))


def check(house: House, *, repeats_allowed: int, failures_allowed: int = 0, forgotten: Collection[str] = ()) -> Outcome:
    """Count what was lost, doubled, mixed up or written under a stale fence; fail where anything is not as promised.

    `forgotten`: folders whose job somebody forgot, so that their pictures need no caption.
    """
    ended = {
        row.path: row
        for row in house.sql(
            """SELECT file.path, min(caption.text) AS text, count(DISTINCT caption.id) AS captions,
                      count(DISTINCT failure.id) AS failures, min(failure.kind) AS kind
                 FROM file LEFT JOIN caption ON caption.image_id = file.image_id
                           LEFT JOIN failure ON failure.file_id = file.id
                GROUP BY file.path"""
        )
    }
    number_of = {str(path): number for number, paths in house.painted.items() for path in paths}
    wanted = [path for path in number_of if Path(path).parent.name not in forgotten]
    lost = [path for path in wanted if path not in ended or not (ended[path].captions or ended[path].failures)]
    mixed = [p for p, n in number_of.items() if p in ended and ended[p].text not in (None, f"picture {n}")]
    doubled = house.sql("SELECT image_id FROM caption GROUP BY image_id, recipe_id HAVING count(*) > 1")
    stale = house.sql("SELECT image_id, worker_id FROM stale_write")
    runs = house.runs()
    outcome = Outcome(
        pictures=len(number_of),
        captioned=house.captioned(),
        failed=sum(1 for row in ended.values() if row.failures),
        lost=len(lost),
        doubled=len(doubled),
        mixed_up=len(mixed),
        stale=len(stale),
        repeats=runs.total() - len(runs),
    )
    assert not lost, f"lost: {lost[:5]}"
    assert not doubled, f"two captions of one content and recipe: {doubled[:5]}"
    assert not mixed, f"another picture's caption: {mixed[:5]}"
    assert not stale, f"written under a stale fence (image, worker): {stale[:5]}"
    assert set(runs) >= {number_of[p] for p, row in ended.items() if row.captions and p in number_of}, "never run"
    assert outcome.failed <= failures_allowed, [p for p, row in ended.items() if row.failures][:5]
    assert outcome.repeats <= repeats_allowed, f"{outcome.repeats} done again, {repeats_allowed} allowed"
    _check_counts(house)
    return outcome


def _check_counts(house: House) -> None:
    """Units' counters, items' states and jobs' sums tell the same story, and nothing is left open."""
    assert not house.sql("SELECT id, state FROM unit WHERE state IN ('queued', 'running')"), "units left open"
    assert not house.sql("SELECT id, state FROM job WHERE state IN ('scanning', 'queued', 'running')")
    wrong = house.sql(
        """SELECT unit.id, unit.pictures, unit.done, unit.failed, sum(CASE WHEN item.state = 'done' THEN 1 ELSE 0 END),
                  sum(CASE WHEN item.state = 'failed' THEN 1 ELSE 0 END)
             FROM unit JOIN item ON item.unit_id = unit.id GROUP BY unit.id
           HAVING unit.pictures <> unit.done + unit.failed
               OR unit.done <> sum(CASE WHEN item.state = 'done' THEN 1 ELSE 0 END)
               OR unit.failed <> sum(CASE WHEN item.state = 'failed' THEN 1 ELSE 0 END)"""
    )
    assert not wrong, f"units whose counters and items differ: {[tuple(row) for row in wrong[:5]]}"
    wrong = house.sql(
        """SELECT job.id, job.total, job.skipped, sum(unit.done) AS done, sum(unit.failed) AS failed
             FROM job JOIN unit ON unit.job_id = job.id GROUP BY job.id
           HAVING job.total <> job.skipped + sum(unit.done) + sum(unit.failed)"""
    )
    assert not wrong, f"jobs whose sums do not add up: {[tuple(row) for row in wrong[:5]]}"
    wrong = house.sql(
        """SELECT item.id FROM item
             LEFT JOIN failure ON failure.job_id = item.job_id AND failure.file_id = item.file_id
            WHERE (item.state = 'failed') <> (failure.id IS NOT NULL AND failure.kind <> '' AND failure.message > '')"""
    )
    assert not wrong, "failures without a reason, or reasons without a failure"

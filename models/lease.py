"""Leases on units: who works on what, for how long, and what its fence is. Every statement that changes a unit's state.

A unit is claimed for some seconds under a fence, a random number that no other claim has. Whoever writes a result
renews the lease under its fence in the same transaction: no row means that the unit was lost or cancelled, and nothing
of it is written. A unit whose worker died is due again at once (the supervisor says so) or when its lease ran out
(`sweep`).

What happened to a unit is counted apart: a *crash* is a death that was seen, with the unit on the model; a *lapse* is
any other loss of its worker, and nobody knows why; a *preemption* is neither: its worker was told to stop or make way.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from sqlalchemy import (
    BindParameter,
    Column,
    ColumnElement,
    Connection,
    and_,
    bindparam,
    case,
    exists,
    func,
    null,
    or_,
    select,
    true,
    tuple_,
    update,
)

from blipq.models.schema import db_now, item, job, queue, unit

OPEN = ("queued", "running")
NOT_OVER = ("scanning", *OPEN)  # states of a job of which something may be claimed
SCAN_SECONDS = 600.0  # without a chunk of pictures after which whoever read a job's folder counts as dead
FAR_SECONDS = 3600.0  # a lease that ends later is no lease, but a clock that was put back
MOST_UNITS = 32  # a claim: 2,048 pictures, and under 100 ms
SUSPECT_LAPSES = 3  # leases of a unit that lapsed, after which it runs alone: it may take its whole host along
MOST_LAPSES = 10  # after which a single picture (or a run since its last checkpoint) is given up
UNIT_ITEMS = 64  # pictures a unit at the most: what a lease, a fence and a progress counter cover

# Asked 20 times a second: to build them anew took 1 ms each.
_DUE = (
    select(job.c.id, job.c.priority, job.c.model, job.c.recipe_id, (job.c.attempts + job.c.deaths).label("doubts"))
    .where(
        job.c.kind == bindparam("queue"),
        job.c.state.in_(NOT_OVER),
        job.c.run_after <= db_now(),
        exists().where(unit.c.job_id == job.c.id, unit.c.state == "queued", unit.c.run_after <= db_now()),
        ~exists().where(queue.c.name == bindparam("queue"), queue.c.paused),
    )
    .order_by(job.c.priority.desc(), job.c.served, job.c.id)
    .limit(100)
)
_WANTED = (
    select(unit.c.id, unit.c.fence)
    .join(job, job.c.id == unit.c.job_id)
    .where(unit.c.id.in_(bindparam("units", expanding=True)), unit.c.state == "running", job.c.state.in_(NOT_OVER))
)


@dataclass(frozen=True)
class Lease:
    """A claimed unit. `fence` proves it."""

    unit_id: int
    job_id: int
    fence: int
    crashes: int
    lapses: int = 0

    @property
    def suspect(self) -> bool:
        """Whether it runs alone, as its worker died of it or was lost too often."""
        return self.crashes > 0 or self.lapses >= SUSPECT_LAPSES


@dataclass(frozen=True)
class DueJob:
    """A job with a unit that may be claimed now."""

    job_id: int
    priority: int
    model: str
    recipe_id: int | None
    doubts: int = 0  # attempts at it that came to nothing


def new_fence() -> int:
    """A number that nobody else has: of 62 random bits, so that not even a ledger restored from a copy gives it again.

    A counter would: whoever claimed after the copy was made still holds numbers that come again.
    """
    return secrets.randbits(62)


def due(connection: Connection, queue_name: str) -> list[DueJob]:
    """Jobs with due units, whose turn comes first: by priority, then by who was served least."""
    return [DueJob(*row) for row in connection.execute(_DUE, {"queue": queue_name})]


def claim(
    connection: Connection, worker_id: int, job_id: int, seconds: float, pictures: int, *, alone: bool
) -> list[Lease]:
    """Lease due units of a job until they hold `pictures` pictures: one unit at the least, 32 at the most.

    A suspect is claimed by itself, and only by a worker that holds nothing else (`alone`): its next crash is then its
    own and nobody else's. Nothing is claimed of a job that is over.
    """
    # The job's row first: what is cancelled meanwhile stays cancelled. Nobody is waited for after it (SKIP LOCKED), so
    # that this order, the reverse of everybody else's, cannot deadlock.
    open_job = select(job.c.id).where(job.c.id == job_id, job.c.state.in_(NOT_OVER))
    if connection.scalar(open_job.with_for_update(key_share=True)) is None:
        return []
    due_units = (
        select(unit.c.id, unit.c.pictures, or_(unit.c.crashes > 0, unit.c.lapses >= SUSPECT_LAPSES).label("suspect"))
        .where(unit.c.job_id == job_id, unit.c.state == "queued", unit.c.run_after <= db_now())
        .order_by(unit.c.id)
        .limit(MOST_UNITS)
        .with_for_update(skip_locked=True)
    )
    found = connection.execute(due_units).all()
    before = accumulate((row.pictures for row in found), initial=0)
    sound = [row for row, so_far in zip(found, before, strict=False) if not row.suspect and so_far < pictures]
    taken = sound or (found[:1] if alone else [])
    if not taken:
        return []
    rows = connection.execute(
        update(unit)
        .where(unit.c.id.in_([row.id for row in taken]), unit.c.state == "queued")
        .values(state="running", worker_id=worker_id, fence=new_fence(), lease_until=db_now() + seconds)
        .returning(unit.c.id, unit.c.job_id, unit.c.fence, unit.c.crashes, unit.c.lapses)
    ).all()
    served = sum(row.pictures for row in taken)
    connection.execute(
        update(job)
        .where(job.c.id == job_id)
        .values(
            served=job.c.served + served,
            started_at=func.coalesce(job.c.started_at, db_now()),
            state=case((job.c.state == "queued", "running"), else_=job.c.state),
            note=None,
        )
    )
    return sorted((Lease(*row) for row in rows), key=lambda lease: lease.unit_id)


def renew(connection: Connection, leases: Collection[Lease], seconds: float) -> set[int]:
    """Extend leases; the unit ids that are still ours. Those missing were lost or cancelled: write nothing of them."""
    if not leases:
        return set()
    # Locked in the order of their ids, as everybody does, so that two writers on PostgreSQL cannot deadlock.
    held = select(unit.c.id).where(_held(leases)).order_by(unit.c.id).with_for_update()
    rows = connection.execute(
        update(unit).where(unit.c.id.in_(held)).values(lease_until=db_now() + seconds).returning(unit.c.id)
    )
    return {row.id for row in rows}


def wanted(connection: Connection, leases: Collection[Lease]) -> set[int]:
    """The units of some leases that are still ours and still to be done; a read that waits for nobody."""
    if not leases:
        return set()
    found = {tuple(row) for row in connection.execute(_WANTED, {"units": [lease.unit_id for lease in leases]})}
    return {lease.unit_id for lease in leases if (lease.unit_id, lease.fence) in found}


def hand_back(connection: Connection, leases: Collection[Lease], after: float = 0, *, preempted: bool = False) -> None:
    """Give units back unharmed: what is done stays done, the rest is due again after `after` seconds.

    `preempted` where the worker was told to stop or to make way.
    """
    if leases:
        _hand_back(connection, _held(leases), after, preempted)


def release(connection: Connection, worker_id: int, *, preempted: bool = False) -> None:
    """Give back unharmed all that a worker has, whatever it remembers of it: a commit that it never heard of too."""
    _hand_back(connection, and_(unit.c.state == "running", unit.c.worker_id == worker_id), 0, preempted)


def count(connection: Connection, counts: Mapping[int, tuple[int, int]]) -> None:
    """Add (done, failed) to units' counters; ends each unit, and its job, of which nothing is left."""
    if not counts:
        return
    done: BindParameter[int] = bindparam("more_done")
    failed: BindParameter[int] = bindparam("more_failed")
    ends = unit.c.pictures - unit.c.done - unit.c.failed <= done + failed
    connection.execute(
        update(unit)
        .where(unit.c.id == bindparam("unit"))
        .values(
            done=unit.c.done + done,
            failed=unit.c.failed + failed,
            state=case((ends, "done"), else_=unit.c.state),
            lease_until=case((ends, null()), else_=unit.c.lease_until),
            fence=case((ends, new_fence()), else_=unit.c.fence),
        ),
        [
            {"unit": unit_id, "more_done": counts[unit_id][0], "more_failed": counts[unit_id][1]}
            for unit_id in sorted(counts)
        ],
    )
    ended = select(unit.c.job_id).where(unit.c.id.in_(list(counts)), unit.c.state == "done").distinct()
    for job_id in sorted(connection.scalars(ended)):
        settle(connection, job_id)


def end(connection: Connection, unit_id: int, state: str) -> None:
    """Put a unit into a state that it does not leave by itself; its fence changes, so that no late writer gets in."""
    connection.execute(
        update(unit).where(unit.c.id == unit_id).values(state=state, lease_until=None, fence=new_fence())
    )


def settle(connection: Connection, job_id: int) -> None:
    """End a job when none of its units is open. Its row is locked first: two last units at once cannot miss it."""
    # FOR NO KEY UPDATE: where a unit is updated twice in one transaction, as with every result, PostgreSQL checks its
    # references and holds KEY SHARE on the job; two such transactions would deadlock over FOR UPDATE.
    connection.execute(select(job.c.id).where(job.c.id == job_id).with_for_update(key_share=True)).one()
    still_open = exists().where(unit.c.job_id == job_id, unit.c.state.in_(OPEN))
    any_failed = exists().where(unit.c.job_id == job_id, unit.c.state == "failed")
    connection.execute(
        update(job)
        .where(job.c.id == job_id, job.c.state.in_(OPEN), ~still_open)
        .values(state=case((any_failed, "failed"), else_="done"), ended_at=db_now())
    )


def postpone(connection: Connection, job_id: int, seconds: float, note: str) -> None:
    """Let a job wait, and say why."""
    waits = (job.c.id == job_id) & job.c.state.in_(NOT_OVER)  # not one that somebody cancelled meanwhile
    connection.execute(update(job).where(waits).values(run_after=db_now() + seconds, note=note))


def fail_job(connection: Connection, job_id: int, note: str) -> None:
    """End a job that nobody can do, and say why. What it had left stays queued for a retry."""
    connection.execute(
        update(job)
        .where(job.c.id == job_id, job.c.state.in_(NOT_OVER))
        .values(state="failed", note=note, ended_at=db_now())
    )


def sweep(connection: Connection, queue_name: str) -> int:
    """Make due again what was leased to workers that are not heard of. Returns how many units.

    To be called by one that has seen the ledger for so long that every living owner has renewed its leases.
    """
    lapsed = select(unit.c.id).where(_lapsed(queue_name)).order_by(unit.c.id)
    found = connection.scalars(lapsed.with_for_update(skip_locked=True)).all()
    _lose(connection, found, unit.c.lapses)
    return len(found)


def expire(connection: Connection, worker_id: int, on_model: Collection[int] = ()) -> int:
    """Make due again what a worker held that is known to be dead: no need to wait for its leases. How many units.

    `on_model`: the units that it died of, as far as anybody can tell; the rest were only in its hands.
    """
    held = select(unit.c.id).where(unit.c.state == "running", unit.c.worker_id == worker_id)
    found = connection.scalars(held.order_by(unit.c.id).with_for_update()).all()
    _lose(connection, [unit_id for unit_id in found if unit_id in on_model], unit.c.crashes)
    _lose(connection, [unit_id for unit_id in found if unit_id not in on_model], unit.c.lapses)
    return len(found)


def restless(connection: Connection, queue_name: str) -> bool:
    """Whether a sweep would find anything: asked first, by a read that waits for no writer."""
    lapsed = exists().where(_lapsed(queue_name))
    overdue = exists().where(job.c.deadline < db_now(), job.c.state.in_(NOT_OVER))
    return bool(connection.scalar(select(or_(lapsed, overdue, exists().where(abandoned())))))


def abandoned() -> ColumnElement[bool]:
    """Jobs whose folder nobody reads on: the enqueue was killed, or lost its database in the middle."""
    return and_(job.c.state == "scanning", job.c.scanned_at < db_now() - SCAN_SECONDS)


def bell(connection: Connection, queue_name: str, limit: int) -> list[int]:
    """Some units that are due: what a doorbell is rung for."""
    jobs = [due_job.job_id for due_job in due(connection, queue_name)]
    query = (
        select(unit.c.id)
        .where(unit.c.job_id.in_(jobs), unit.c.state == "queued", unit.c.run_after <= db_now())
        .order_by(unit.c.id)
        .limit(limit)
    )
    return list(connection.scalars(query)) if jobs else []


def _lapsed(queue_name: str) -> ColumnElement[bool]:
    over = or_(unit.c.lease_until < db_now(), unit.c.lease_until > db_now() + FAR_SECONDS)
    return and_(unit.c.state == "running", over, unit.c.queue == queue_name)


def _hand_back(connection: Connection, which: ColumnElement[bool], after: float, preempted: bool) -> None:
    units = select(unit.c.id).where(which).order_by(unit.c.id).with_for_update()
    connection.execute(
        update(unit)
        .where(unit.c.id.in_(units))
        .values(
            state="queued",
            worker_id=None,
            lease_until=None,
            run_after=db_now() + after,
            preemptions=unit.c.preemptions + int(preempted),
        )
    )


def _held(leases: Collection[Lease]) -> ColumnElement[bool]:
    pairs = [(lease.unit_id, lease.fence) for lease in leases]
    return and_(tuple_(unit.c.id, unit.c.fence).in_(pairs), unit.c.state == "running")


def _lose(connection: Connection, unit_ids: Sequence[int], counter: Column[int]) -> None:
    """Count a loss of their worker against units, as a crash or a lapse, and make them due again.

    A unit of several pictures that crashed, or lapsed alone, is cut in two: the one that kills the model is cornered in
    log2(64) crashes. A single picture is left to the worker's limit of attempts.
    """
    if not unit_ids:
        return
    counted = {counter.name: counter + 1}
    lost = update(unit).where(unit.c.id.in_(unit_ids))
    connection.execute(lost.values(state="queued", worker_id=None, lease_until=None, fence=new_fence(), **counted))
    guilty = true() if counter is unit.c.crashes else unit.c.lapses > SUSPECT_LAPSES
    to_split = select(unit.c.id).where(unit.c.id.in_(unit_ids), guilty).order_by(unit.c.id)
    for unit_id in connection.scalars(to_split).all():
        _split(connection, unit_id)


def _split(connection: Connection, unit_id: int) -> None:
    left = connection.scalars(
        select(item.c.id).where(item.c.unit_id == unit_id, item.c.state == "queued").order_by(item.c.id)
    ).all()
    if len(left) < 2:
        return
    old = connection.execute(select(unit).where(unit.c.id == unit_id)).one()
    # Suspects, but what each of the halves does is counted anew.
    counts = {"crashes": min(old.crashes, 1), "lapses": min(old.lapses, SUSPECT_LAPSES)}
    for half in (left[: len(left) // 2], left[len(left) // 2 :]):
        made = connection.execute(
            unit.insert()
            .values(job_id=old.job_id, queue=old.queue, state="queued", pictures=len(half), **counts)
            .returning(unit.c.id)
        ).scalar_one()
        connection.execute(update(item).where(item.c.id.in_(half)).values(unit_id=made))
    end(connection, unit_id, "split")
    connection.execute(update(unit).where(unit.c.id == unit_id).values(pictures=unit.c.done + unit.c.failed))

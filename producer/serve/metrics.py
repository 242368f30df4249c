"""What Prometheus reads: the ledger's state, and how this process answered."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, func, select

from blipq import __version__
from blipq.models import status
from blipq.models.control import QUEUES
from blipq.models.schema import job, unit

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
Sample = tuple[Mapping[str, str], float]


class Requests:
    """How many requests were answered how, and how long they took. Used by every thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._buckets: dict[str, list[int]] = defaultdict(lambda: [0] * (len(SECONDS) + 1))
        self._seconds: Counter[str] = Counter()

    def add(self, method: str, route: str, status_code: int, seconds: float) -> None:
        """Count an answer. `route` is the pattern, so that numbers in paths make no series of their own."""
        with self._lock:
            self._counts[method, route, str(status_code)] += 1
            self._buckets[route][bisect_left(SECONDS, seconds)] += 1
            self._seconds[route] += seconds  # type: ignore[assignment]  # Counter adds floats as well

    def lines(self) -> list[str]:
        """The text format, of this process alone."""
        with self._lock:
            counts, seconds = dict(self._counts), dict(self._seconds)
            buckets = {route: list(values) for route, values in self._buckets.items()}
        made = _metric(
            "blipq_http_requests_total",
            "counter",
            "Requests answered by this process.",
            (({"method": m, "route": r, "status": s}, n) for (m, r, s), n in sorted(counts.items())),
        )
        made += [
            "# HELP blipq_http_request_seconds Seconds from a request's head to its answer's end.",
            "# TYPE blipq_http_request_seconds histogram",
        ]
        for route, values in sorted(buckets.items()):
            so_far = 0
            for bound, count in zip((*map(str, SECONDS), "+Inf"), values, strict=True):
                so_far += count
                made.append(_line("blipq_http_request_seconds_bucket", {"route": route, "le": bound}, so_far))
            made.append(_line("blipq_http_request_seconds_sum", {"route": route}, seconds[route]))
            made.append(_line("blipq_http_request_seconds_count", {"route": route}, so_far))
        return made


def ledger_lines(connection: Connection) -> list[str]:
    """The text format of what the rows say: jobs, pictures, queues, workers."""
    states = connection.execute(select(job.c.kind, job.c.state, func.count()).group_by(job.c.kind, job.c.state)).all()
    done, failed = connection.execute(
        select(func.coalesce(func.sum(unit.c.done), 0), func.coalesce(func.sum(unit.c.failed), 0)).where(
            unit.c.queue == "caption"
        )
    ).one()
    left = connection.execute(
        select(unit.c.queue, func.sum(unit.c.pictures - unit.c.done - unit.c.failed))
        .join(job, job.c.id == unit.c.job_id)
        .where(job.c.state.in_(("scanning", "queued", "running")), unit.c.state.in_(("queued", "running")))
        .group_by(unit.c.queue)
    ).all()
    waiting = {queue: float(count) for queue, count in left}
    paused = status.paused(connection)
    workers = [
        ({"worker": w["name"], "queue": w["queue"], "state": w["state"], "device": w["device"] or ""}, w["rate"] or 0.0)
        for w in status.workers(connection)
    ]
    return [
        *_metric("blipq_info", "gauge", "The version that answers.", [({"version": __version__}, 1)]),
        *_metric("blipq_jobs", "gauge", "Jobs by state.", (({"kind": k, "state": s}, n) for k, s, n in states)),
        *_metric("blipq_pictures_done", "gauge", "Pictures captioned by jobs that are kept.", [({}, done)]),
        *_metric("blipq_pictures_failed", "gauge", "Pictures that failed, of jobs that are kept.", [({}, failed)]),
        *_metric(
            "blipq_queue_pictures",
            "gauge",
            "Pictures (or runs) that wait or are worked on.",
            (({"queue": queue}, waiting.get(queue, 0)) for queue in QUEUES),
        ),
        *_metric(
            "blipq_queue_paused", "gauge", "1 while paused.", (({"queue": q}, float(q in paused)) for q in QUEUES)
        ),
        *_metric("blipq_worker_rate", "gauge", "Pictures or steps a second of a worker heard of lately.", workers),
    ]


def _metric(name: str, kind: str, said: str, samples: Iterable[Sample]) -> list[str]:
    return [f"# HELP {name} {said}", f"# TYPE {name} {kind}", *(_line(name, labels, n) for labels, n in samples)]


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    shown = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{shown}}} {value:g}" if shown else f"{name} {value:g}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

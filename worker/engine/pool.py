"""A pool of decode processes: pictures in, futures out; one that crashes, hangs or hogs memory costs no other.

Each process has a thread here that feeds it and takes its answers, so the guilty picture is always known: it is the
oldest one not answered. Processes are started by exec: a fork after torch hangs, and multiprocessing's spawn would
import Celery's `__main__` again.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from types import TracebackType

from blipq.worker.engine.decode_process import DecodeProcess, Died, NoDecoder, TimedOut
from blipq.worker.engine.picture import BadImage, Limits
from blipq.worker.engine.source import too_big
from blipq.worker.engine.wire import SLOTS, Answer, Request

CHILD = (sys.executable, "-P", "-m", "blipq.worker.engine.decode_child")
_AHEAD_SECONDS = 0.002  # of work that lies in a process: it must not wait for its thread, nor an urgent picture for it
_CRASHES = 2  # of a picture's decoder before it is given up: the first may have been another's fault

__all__ = ["DecodePool", "NoDecoder", "Request"]


@dataclass(eq=False)
class _Task:
    request: Request
    future: Future[Answer] = field(default_factory=Future)
    crashes: int = 0


class DecodePool:
    """Decode pictures in `processes` processes of their own, within `limits` each.

    Whatever happens to a picture ends in its future as `Picture`, `Identity` or `BadImage`; the only exception is
    `NoDecoder`, when no process can be started. A future that was cancelled is not decoded. `child` is the command
    that starts a process, for decoders that fail on purpose.
    """

    def __init__(self, processes: int, limits: Limits, child: Sequence[str] = CHILD) -> None:
        self._queue: SimpleQueue[_Task | None] = SimpleQueue()
        self._closing = threading.Event()
        self._bytes = limits.bytes
        self._feeders = [
            _Feeder(self._queue, processes, DecodeProcess(child, limits), self._closing) for _ in range(processes)
        ]
        for feeder in self._feeders:
            feeder.start()

    def submit(self, request: Request) -> Future[Answer]:
        """Queue a picture, in order of arrival; the caller bounds how many. RuntimeError after `close`."""
        if self._closing.is_set():
            raise RuntimeError("the decode pool is closed")
        task = _Task(request)
        if request.data is not None and len(request.data) > self._bytes:
            task.future.set_result(too_big(len(request.data), self._bytes))
        else:
            self._queue.put(task)
        return task.future

    def close(self) -> None:
        """End at once: processes are killed, and futures that are not done are cancelled."""
        self._closing.set()
        for feeder in self._feeders:
            self._queue.put(None)
            feeder.end()
        for feeder in self._feeders:
            feeder.join()
        while not self._queue.empty():
            if task := self._queue.get():
                task.future.cancel()

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Feeder(threading.Thread):
    """Keeps one decode process fed, and replaced when it dies.

    The thread that starts a process stays for as long as it is wanted: Linux ties the parent-death signal to it.
    """

    def __init__(
        self,
        queue: SimpleQueue[_Task | None],
        processes: int,
        process: DecodeProcess,
        closing: threading.Event,
    ) -> None:
        super().__init__(name="blipq-decode", daemon=True)
        self._queue, self._processes, self._closing = queue, processes, closing
        self._process = process
        self._given: deque[_Task] = deque()  # to the process, oldest first
        self._pace = 1.0  # seconds an answer takes, smoothed
        self._waiting: deque[_Task] = deque()  # taken from the queue, or left by a process that died

    def run(self) -> None:
        with suppress(NoDecoder):  # the first picture will say so
            self._process.start()
        while not self._closing.is_set():
            try:
                self._feed()
                if self._given:
                    began = time.monotonic()
                    answer = self._process.receive()
                    self._pace += (time.monotonic() - began - self._pace) / 8
                    self._finish(answer)
            except TimedOut as late:
                self._finish(late.picture)
                self._take_back()
            except Died as death:
                self._mourn(death)
            except Exception as error:  # no decoder, or a fault of this code: nobody may wait for ever
                self._give_up(error)
        self._process.stop()
        self._take_back()
        for task in self._waiting:
            task.future.cancel()

    def end(self) -> None:
        """From another thread: kill the process, and with it what this thread waits for."""
        self._process.end()

    def _feed(self) -> None:
        """Give the process work: wait for some when it has none, and some ahead while there is plenty for all.

        Bytes are given to an idle process alone: it reads them at once, where a busy one could block this thread.
        """
        most = min(SLOTS, max(2, int(_AHEAD_SECONDS / self._pace)))
        while len(self._given) < most:
            if not self._waiting and not self._fetch():
                return
            task = self._waiting[0]
            if self._given and task.request.data is not None:
                return
            if not self._given and not self._process.running:  # it may have died idle, by no picture's fault
                self._process.start()
            self._waiting.popleft()
            if not task.future.cancelled():
                self._given.append(task)
                self._process.send(task.request)

    def _fetch(self) -> bool:
        """Take one picture from the queue; False when there is none to be had (or the pool closes)."""
        if self._given and self._queue.qsize() < self._processes:
            return False  # leave it to an idle process
        try:
            task = self._queue.get(block=not self._given)
        except Empty:
            return False
        if task is None:
            return False
        self._waiting.append(task)
        return True

    def _finish(self, answer: Answer) -> None:
        task = self._given.popleft()
        if task.future.set_running_or_notify_cancel():
            task.future.set_result(answer)
        if isinstance(answer, BadImage) and answer.kind == "memory":
            self._process.stop()  # a heap that has been at its limit is in pieces: start afresh
            self._take_back()

    def _mourn(self, death: Died) -> None:
        """The oldest picture is tried once more in a fresh process, the others are as good as new."""
        if self._given and not self._closing.is_set():
            self._given[0].crashes += 1
            if self._given[0].crashes >= _CRASHES:
                self._finish(death.picture)
        self._take_back()

    def _take_back(self) -> None:
        self._waiting.extendleft(reversed(self._given))
        self._given.clear()

    def _give_up(self, error: Exception) -> None:
        """Nothing can be decoded just now; the next picture makes the next attempt."""
        self._process.stop()
        self._take_back()
        if self._waiting and not self._closing.is_set():
            task = self._waiting.popleft()
            if task.future.set_running_or_notify_cancel():
                task.future.set_exception(error)

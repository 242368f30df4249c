"""A pool of decode processes: pictures in, futures out; one that crashes, hangs or hogs memory costs no other.

Each process has a thread here that feeds it and takes its answers. Quick pictures go in groups; after a crash they go
one by one for a while, so that the guilty one is known: it is the oldest one not answered. Processes are started by
exec: a fork after torch hangs, and multiprocessing's spawn would import Celery's `__main__` again.
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

from blipq.worker.engine.decode_process import DecodeProcess, Died, Lost, NoDecoder, TimedOut
from blipq.worker.engine.picture import BadImage, Limits
from blipq.worker.engine.source import too_big
from blipq.worker.engine.wire import HALF, Answer, Request

CHILD = (sys.executable, "-P", "-m", "blipq.worker.engine.decode_child")
_GROUP_SECONDS = 0.004  # of work to a group, and two lie in a process: an urgent picture waits for them
_GROUP_MOST = 16  # pictures
_SLOW = 1.0  # seconds a picture takes, as far as is known before the first and after a loss: groups of one
_CRASHES = 2  # of a picture's decoder before it is given up: the first may have been another's fault

__all__ = ["DecodePool", "NoDecoder", "Request"]


@dataclass(eq=False)
class _Task:
    request: Request
    future: Future[Answer] = field(default_factory=Future)
    losses: int = 0  # processes that died on it


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
        self._given: deque[list[_Task]] = deque()  # groups that the process has, oldest first
        self._pace = _SLOW  # seconds an answer takes, smoothed
        self._waiting: deque[_Task] = deque()  # taken from the queue, or left by a process that died

    def run(self) -> None:
        with suppress(NoDecoder):  # the first picture will say so
            self._process.start()
        while not self._closing.is_set():
            try:
                self._feed()
                if self._given:
                    began = time.monotonic()
                    answers = self._process.receive()
                    self._pace += ((time.monotonic() - began) / len(answers) - self._pace) / 8
                    self._finish(answers)
            except TimedOut as late:
                self._mourn(late, attempts=1)
            except Died as death:
                self._mourn(death, _CRASHES)
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
        """Give the process work: wait for some when it has none, and a group ahead while there is plenty for all.

        Bytes are given to an idle process alone: it reads them at once, where a busy one could block this thread.
        """
        while len(self._given) < 2:
            group = self._group()
            if not group:
                return
            if not self._given and not self._process.running:  # it may have died idle, by no picture's fault
                self._waiting.extendleft(reversed(group))
                self._process.start()
                return
            self._given.append(group)
            self._process.send([task.request for task in group])

    def _group(self) -> list[_Task]:
        """Take the pictures of the next group, as many as are quick enough to be worth one."""
        most = max(1, min(_GROUP_MOST, int(_GROUP_SECONDS / self._pace)))
        group: list[_Task] = []
        room = HALF
        while len(group) < most and self._fetch(wait=not self._given and not group):
            request = self._waiting[0].request
            room -= request.room
            if room < 0 or (request.data is not None and (self._given or group)):
                break
            task = self._waiting.popleft()
            if not task.future.cancelled():
                group.append(task)
        return group

    def _fetch(self, *, wait: bool) -> bool:
        """See to it that a picture is waiting; False when there is none to be had (or the pool closes)."""
        if self._waiting:
            return True
        if not wait and self._queue.qsize() < self._processes:
            return False  # leave it to an idle process
        try:
            task = self._queue.get(block=wait)
        except Empty:
            return False
        if task is None:
            return False
        self._waiting.append(task)
        return True

    def _finish(self, answers: Sequence[Answer]) -> None:
        group = self._given.popleft()
        for count, (task, answer) in enumerate(zip(group, answers, strict=True), 1):
            if task.future.set_running_or_notify_cancel():
                task.future.set_result(answer)
            if isinstance(answer, BadImage) and answer.kind == "memory":
                self._process.stop()  # a heap that has been at its limit is in pieces: the others start afresh
                self._given.appendleft(group[count:])
                self._take_back()
                return

    def _mourn(self, loss: Lost, attempts: int) -> None:
        """The oldest picture is tried so many times in all, the others are as good as new; one by one from now on."""
        self._pace = _SLOW
        if self._given and len(self._given[0]) == 1 and not self._closing.is_set():
            self._given[0][0].losses += 1
            if self._given[0][0].losses >= attempts:
                self._finish([loss.picture])
        self._take_back()

    def _take_back(self) -> None:
        for group in reversed(self._given):
            self._waiting.extendleft(reversed(group))
        self._given.clear()

    def _give_up(self, error: Exception) -> None:
        """Nothing can be decoded just now; the next picture makes the next attempt."""
        self._process.stop()
        self._take_back()
        if self._waiting and not self._closing.is_set():
            task = self._waiting.popleft()
            if task.future.set_running_or_notify_cancel():
                task.future.set_exception(error)

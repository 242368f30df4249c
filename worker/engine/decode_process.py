"""The parent's end of one decode process: start it, hand it pictures, take its answers, tell how it died."""

from __future__ import annotations

import fcntl
import mmap
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import astuple
from itertools import accumulate

from blipq.worker.engine import wire
from blipq.worker.engine.picture import BadImage, Limits, Shape

_START_SECONDS = 60.0  # an idle machine takes 0.2, a cold network disk may take many
_STARTS = 3  # attempts before it counts as impossible
_SLICE = 1.0  # seconds of waiting counted at once: a stopped and continued machine loses one, not a picture
# No passwords and tokens for a process that strangers' files may take over.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
# A process has one core, and every thread's stack and arena counts against its memory.
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
_SIGNALS: dict[int, str] = {
    signal.SIGSEGV: "it reached for memory that is not its own",
    signal.SIGBUS: "it reached for memory that is not there",
    signal.SIGABRT: "it gave up",
    signal.SIGFPE: "an impossible division",
    signal.SIGILL: "an unknown instruction",
}


class NoDecoder(Exception):
    """No decode process can be started; its own words are in the log (stderr)."""


class Lost(Exception):
    """The process is gone; `picture` is what to say of the picture it was working on."""

    def __init__(self, picture: BadImage) -> None:
        super().__init__(picture.message)
        self.picture = picture


class Died(Lost):
    """It crashed or was killed."""


class TimedOut(Lost):
    """It was killed, since it took longer than its limit."""


class DecodeProcess:
    """One process at a time, with up to two groups of pictures in it. `end` may come from any thread."""

    def __init__(self, command: Sequence[str], limits: Limits) -> None:
        self._command, self._limits = command, limits
        self._lock = threading.Lock()  # between start and end
        self._ended = False
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket
        self._shared: mmap.mmap
        self._received = b""  # but not yet taken
        self._sent: deque[list[tuple[int, Shape | None]]] = deque()  # groups of starts and shapes, oldest first
        self._half = 0  # of the shared memory, for the next group

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it is ready. Raises NoDecoder."""
        for _ in range(_STARTS):
            self.stop()
            try:
                self._spawn()
                self._sent.clear()
                self._received = b""
                if self._take(len(wire.HELLO), _START_SECONDS) == wire.HELLO:
                    return
            except (Lost, OSError):
                continue
        self.stop()
        raise NoDecoder(f"decode processes do not start: {' '.join(self._command)}")

    def send(self, group: Sequence[wire.Request]) -> None:
        """Give it pictures (of `wire.HALF` bytes at the most) to answer at once. Raises TimedOut.

        A message and a wake-up each way cost 0.1 ms, as much as a small picture. That the process died meanwhile is
        noticed by `receive`.
        """
        begin = wire.HEAD + self._half * wire.HALF
        starts = list(accumulate((request.room for request in group[:-1]), initial=begin))
        self._half = 1 - self._half
        self._sent.append([(start, request.shape) for start, request in zip(starts, group, strict=True)])
        head = b""
        with suppress(ConnectionError):
            for number, (start, request) in enumerate(zip(starts, group, strict=True), 1):
                head += wire.pack_request(request, start, last=number == len(group))
                if request.data is not None:
                    self._give(memoryview(head))
                    self._give(memoryview(request.data))
                    head = b""
            self._give(memoryview(head))

    def receive(self) -> list[wire.Answer]:
        """The answers to the oldest group. Raises TimedOut and Died; either way the process is gone then."""
        answers = []
        for start, shape in self._sent[0]:
            head = self._take(wire.ANSWER_SIZE, self._limits.seconds)
            try:
                text = self._take(wire.text_length(head), self._limits.seconds)
                answers.append(wire.unpack_answer(head, text, shape, self._shared, start))
            except ValueError:
                raise self._death("it answered nonsense") from None
        self._sent.popleft()
        return answers

    def stop(self) -> None:
        """Kill the process and let go of what was shared with it."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        with suppress(subprocess.TimeoutExpired):  # one that waits for a dead network disk ends when the disk does
            process.wait(5)
        self._socket.close()
        self._shared.close()

    def end(self) -> None:
        """From another thread: kill the process, and start none again."""
        with self._lock:
            self._ended = True
            if process := self._process:
                process.kill()

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        shared = _shared_memory()
        command = [*self._command, *(str(value) for value in (shared, *astuple(self._limits)))]
        mapped = mmap.mmap(shared, wire.SHARED)
        environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ} | _ONE_THREAD
        try:
            ours.setblocking(False)
            with self._lock:
                if self._ended:
                    raise Died(BadImage("crash", "the decode pool is closed"))
                self._process = subprocess.Popen(
                    command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, pass_fds=[shared], env=environment
                )
            self._socket, self._shared = ours, mapped
        except BaseException:
            ours.close()
            mapped.close()
            raise
        finally:
            theirs.close()
            os.close(shared)

    def _give(self, data: memoryview) -> None:
        waited = 0.0
        while data:
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                waited = self._wait(select.POLLOUT, waited, self._limits.seconds)

    def _take(self, count: int, seconds: float) -> bytes:
        waited = 0.0
        while len(self._received) < count:
            waited = self._wait(select.POLLIN, waited, seconds)
            try:
                more = self._socket.recv(1 << 16)
            except ConnectionError:
                more = b""
            if not more:
                raise self._death(None)
            self._received += more
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def _wait(self, event: int, waited: float, seconds: float) -> float:
        """Wait for the socket; return the seconds waited so far. Raises TimedOut past `seconds`."""
        ready = select.poll()
        ready.register(self._socket, event)
        while True:
            step = max(0.0, min(_SLICE, seconds - waited))
            began = time.monotonic()
            answered = ready.poll(step * 1000)
            waited += min(step, time.monotonic() - began)
            if answered:
                return waited
            if waited >= seconds - 1e-3:  # poll counts in milliseconds
                reading = self._shared[0] == wire.READING
                self.stop()
                if reading:
                    raise TimedOut(BadImage("io", f"the storage did not answer within {seconds:g} s"))
                raise TimedOut(BadImage("timeout", f"took longer than {seconds:g} s to decode"))

    def _death(self, why: str | None) -> Died:
        """Bury the process and say what it died of."""
        process = self._process
        if process is not None and why is None:
            with suppress(subprocess.TimeoutExpired):
                process.wait(5)
        code = process.returncode if process else None
        self.stop()
        if code == -signal.SIGKILL:
            return Died(BadImage("memory", "the system killed the decoder, most likely for the memory it took"))
        if why is None and code is not None and code < 0:
            why = _SIGNALS.get(-code, f"signal {-code}")
        return Died(BadImage("crash", f"the decoder crashed: {why or f'it ended with status {code}'}"))


def _shared_memory() -> int:
    """A descriptor of `wire.SHARED` zeroed bytes, of a size that the process on the other side cannot change."""
    if sys.platform == "linux":
        shared = os.memfd_create("blipq-decode", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(shared, wire.SHARED)
        # Were it shrunk, reading it would kill this process (SIGBUS).
        fcntl.fcntl(shared, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        return shared
    with tempfile.TemporaryFile(prefix="blipq-decode-") as file:
        file.truncate(wire.SHARED)
        return os.dup(file.fileno())

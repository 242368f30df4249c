"""Decode processes: whatever one picture does to its decoder, no other picture pays for it."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from blipq.worker.engine import wire
from blipq.worker.engine.identity import identify
from blipq.worker.engine.picture import BadImage, Identity, Limits, Picture, Shape, decode
from blipq.worker.engine.pool import DecodePool, NoDecoder, Request

SHAPE = Shape(48, 64)
linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture(scope="module")
def png(scene: Image.Image, encode: Callable[..., bytes]) -> bytes:
    return encode(scene, "PNG")


def children() -> set[int]:
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread that ended meanwhile
            found.update(map(int, (task / "children").read_text().split()))
    return found


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_pictures_come_back_as_they_are_decoded_here(png: bytes, limits: Limits, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png)
    with DecodePool(2, limits) as pool:
        by_path = pool.submit(Request(path=bytes(tmp_path / "a.png"), shape=SHAPE)).result()
        by_data = pool.submit(Request(data=png, shape=SHAPE)).result()
        known = pool.submit(Request(path=bytes(tmp_path / "a.png"))).result()
    here = decode(png, SHAPE, limits)
    for found in (by_path, by_data):
        assert isinstance(found, Picture)
        assert np.array_equal(found.pixels, here.pixels)
        assert found.pixels.flags.writeable
        assert (found.sha256, found.width, found.height, found.format) == (identify(png), 96, 64, "PNG")
    assert known == Identity(identify(png), 96, 64, "PNG")


def test_answers_go_with_their_questions(encode: Callable[..., bytes], limits: Limits) -> None:
    # Given 300 pictures of a grey each, of changing shapes, by path-sized and larger-than-a-pipe bytes
    noise = np.random.default_rng(0).integers(0, 2, (300, 300, 3), np.uint8)
    greys = [encode(Image.fromarray(noise + grey), "PNG") for grey in range(0, 250, 10)]
    with DecodePool(2, limits) as pool:
        asked = [(n % 25, Shape(8 + n % 3, 8)) for n in range(300)]
        futures = [pool.submit(Request(data=greys[grey], shape=shape)) for grey, shape in asked]
        for (grey, shape), future in zip(asked, futures, strict=True):
            found = future.result()
            assert found.pixels.shape == (shape.height, shape.width, 3)
            assert np.abs(found.pixels.astype(int) - grey * 10).max() <= 1


def test_one_crash_and_one_hog_cost_no_other_picture(png: bytes, limits: Limits, poison: list[str]) -> None:
    # Given 64 pictures of which one crashes the decoder and one wants 8 GB
    pictures = [png] * 64
    pictures[20], pictures[40] = b"segfault", b"hog"
    with DecodePool(2, limits, child=poison) as pool:
        pool.submit(Request(data=png)).result()
        began = time.monotonic()
        found = [future.result() for future in [pool.submit(Request(data=data, shape=SHAPE)) for data in pictures]]
        took = time.monotonic() - began
    # Then both are named and 62 are kept
    assert found[20] == BadImage("crash", "the decoder crashed: it reached for memory that is not its own")
    assert found[40].kind == "memory"
    assert sum(isinstance(one, Picture) for one in found) == 62
    assert took < 10  # about 1 s on two idle cores


def test_guilt_is_certain_while_another_picture_waits_in_the_process(
    png: bytes, limits: Limits, poison: list[str], tmp_path: Path
) -> None:
    # Given pictures by path, so that each process is given one ahead
    for name, data in (("good", png), ("bad", b"segfault"), ("hog", b"hog"), ("killed", b"killed")):
        (tmp_path / name).write_bytes(data)
    names = (["good"] * 5 + ["bad", "hog", "killed", "bad"]) * 2 + ["good"]
    with DecodePool(1, limits, child=poison) as pool:
        futures = [pool.submit(Request(path=bytes(tmp_path / name), shape=SHAPE)) for name in names]
        found = [future.result() for future in futures]
    kinds = ["good" if isinstance(one, Picture) else one.kind for one in found]
    expected = {"good": "good", "bad": "crash", "hog": "memory", "killed": "memory"}
    assert kinds == [expected[name] for name in names]


@pytest.mark.parametrize(("bad", "kind"), [("segfault", "crash"), ("hog", "memory"), ("hang", "timeout")])
def test_one_of_a_group_costs_no_other_of_it(
    png: bytes, limits: Limits, poison: list[str], tmp_path: Path, bad: str, kind: str
) -> None:
    # Given pictures so quick that they are given to the process 16 at a time, and a bad one among them
    (tmp_path / "good").write_bytes(png)
    (tmp_path / "bad").write_bytes(bad.encode())
    names = ["good"] * 200 + ["bad"] + ["good"] * 200
    with DecodePool(1, replace(limits, seconds=1), child=poison) as pool:
        futures = [pool.submit(Request(path=bytes(tmp_path / name), shape=SHAPE)) for name in names]
        found = [future.result() for future in futures]
    # Then it alone is rejected
    assert [number for number, one in enumerate(found) if not isinstance(one, Picture)] == [200]
    assert found[200].kind == kind


def test_a_crash_that_was_no_fault_of_the_picture_is_forgiven(
    limits: Limits, poison: list[str], tmp_path: Path
) -> None:
    with DecodePool(1, limits, child=poison) as pool:
        found = pool.submit(Request(data=b"once " + bytes(tmp_path / "mark"), shape=SHAPE)).result()
    assert (tmp_path / "mark").exists()
    assert found.kind == "unsupported"  # decoded the second time, and no picture


def test_a_picture_that_hangs_is_given_up(png: bytes, limits: Limits, poison: list[str]) -> None:
    with DecodePool(2, replace(limits, seconds=0.5), child=poison) as pool:
        hung = pool.submit(Request(data=b"hang", shape=SHAPE))
        good = [pool.submit(Request(data=png, shape=SHAPE)) for _ in range(20)]
        assert all(isinstance(future.result(), Picture) for future in good)
        assert hung.result() == BadImage("timeout", "took longer than 0.5 s to decode")
        assert isinstance(pool.submit(Request(data=png, shape=SHAPE)).result(), Picture)


@linux
def test_a_bomb_stays_within_its_memory(encode: Callable[..., bytes]) -> None:
    # Given 100 million pixels in 100 KB, pixels unlimited and 500 MB of memory
    bomb = encode(Image.new("L", (10000, 10000)), "PNG")
    before = children()
    with DecodePool(1, Limits(10**9, 10**9, 500_000_000, 60)) as pool:
        pool.submit(Request(data=bomb)).result()
        (child,) = children() - before
        peaks = []
        future = pool.submit(Request(data=bomb, shape=SHAPE))
        while not future.done():
            try:
                status = Path(f"/proc/{child}/status").read_text()
            except OSError:  # replaced: it had been at its limit
                break
            peaks += [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")]
            time.sleep(0.002)
        assert future.result() == BadImage("memory", "takes more memory to decode than the limit allows")
        assert isinstance(
            pool.submit(Request(data=encode(Image.new("L", (9, 9)), "PNG"), shape=SHAPE)).result(), Picture
        )
    assert max(peaks) < 500_000


@linux
def test_processes_are_small_and_hold_no_torch_and_no_secrets(
    png: bytes, limits: Limits, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLIPQ_DATABASE_URL", "postgresql://user:secret@host/name")
    before = children()
    with DecodePool(1, limits) as pool:
        pool.submit(Request(data=png, shape=SHAPE)).result()
        (child,) = children() - before
        proc = Path(f"/proc/{child}")
        assert "torch" not in (proc / "maps").read_text()
        assert b"secret" not in (proc / "environ").read_bytes()
        status = dict(line.split(":", 1) for line in (proc / "status").read_text().splitlines())
        assert int(status["VmHWM"].split()[0]) < 60_000  # kB
        assert int(status["Threads"]) == 1
        limits_of = (proc / "limits").read_text()
        assert f"Max address space         {limits.memory}" in limits_of
        assert "Max core file size        0 " in limits_of


@linux
def test_terminal_and_service_manager_do_not_stop_a_batch(png: bytes, limits: Limits) -> None:
    before = children()
    with DecodePool(1, limits) as pool:
        pool.submit(Request(data=png)).result()
        (child,) = children() - before
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(child, number)
        assert isinstance(pool.submit(Request(data=png, shape=SHAPE)).result(), Picture)
        assert children() - before == {child}


@linux
def test_a_process_that_was_stopped_for_a_while_loses_nothing(png: bytes, limits: Limits) -> None:
    before = children()
    with DecodePool(1, limits) as pool:
        pool.submit(Request(data=png)).result()
        (child,) = children() - before
        os.kill(child, signal.SIGSTOP)
        future = pool.submit(Request(data=png, shape=SHAPE))
        time.sleep(0.3)
        assert not future.done()
        os.kill(child, signal.SIGCONT)
        assert isinstance(future.result(), Picture)


@linux
def test_processes_die_with_their_parent(poison: list[str], tmp_path: Path) -> None:
    # Given a worker whose decoders hang
    program = (
        "import sys\n"
        "from blipq.worker.engine.pool import DecodePool, Request\n"
        "from blipq.worker.engine.picture import Limits\n"
        f"pool = DecodePool(2, Limits(10**6, 10**6, 10**9, 600), child={poison!r})\n"
        "pool.submit(Request(data=b'not yet')).result()\n"
        "hung = [pool.submit(Request(data=b'hang')) for _ in range(2)]\n"
        "print('ready', flush=True)\n"
        "hung[0].result()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout.readline() == "ready\n"
        time.sleep(0.3)
        tasks = Path(f"/proc/{parent.pid}/task").iterdir()
        decoders = {int(pid) for task in tasks for pid in (task / "children").read_text().split()}
        # When it is killed
        parent.kill()
    # Then they are gone too
    assert len(decoders) == 2
    deadline = time.monotonic() + 5
    while any(is_alive(pid) for pid in decoders):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@linux
def test_nothing_is_left_open_after_crashes_and_close(limits: Limits, poison: list[str]) -> None:
    gc.collect()
    before, descriptors = children(), len(list(Path("/proc/self/fd").iterdir()))
    with DecodePool(2, limits, child=poison) as pool:
        wait([pool.submit(Request(data=b"segfault")) for _ in range(6)])
    assert children() == before
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_close_cancels_what_is_not_done(poison: list[str], limits: Limits) -> None:
    pool = DecodePool(2, limits, child=poison)
    futures = [pool.submit(Request(data=b"hang")) for _ in range(10)]
    time.sleep(0.5)
    began = time.monotonic()
    pool.close()
    assert time.monotonic() - began < 5
    assert all(future.cancelled() for future in futures)
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(Request(data=b"late"))


def test_a_cancelled_picture_is_not_decoded(poison: list[str], limits: Limits, tmp_path: Path) -> None:
    with DecodePool(1, replace(limits, seconds=1), child=poison) as pool:
        hung = pool.submit(Request(data=b"hang"))
        dropped = pool.submit(Request(data=b"once " + bytes(tmp_path / "mark")))
        assert dropped.cancel()
        assert hung.result().kind == "timeout"
        pool.submit(Request(data=b"another")).result()
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize("says", ["import sys; sys.exit(3)", "raise SystemExit('no such library')"])
def test_a_pool_without_decoders_says_so_and_goes_on(says: str, limits: Limits) -> None:
    with DecodePool(2, limits, child=[sys.executable, "-S", "-c", says]) as pool:
        for _ in range(2):
            with pytest.raises(NoDecoder, match="do not start"):
                pool.submit(Request(data=b"x")).result(60)


def test_nonsense_from_a_decoder_that_was_taken_over_is_a_crash(limits: Limits) -> None:
    program = "import socket; s = socket.socket(fileno=0); s.sendall(b'ready'); s.recv(9); s.sendall(b'\\xff' * 70000)"
    with DecodePool(1, limits, child=[sys.executable, "-c", program]) as pool:
        assert pool.submit(Request(data=b"x", shape=SHAPE)).result(60).kind == "crash"


def test_uploads_over_the_limit_are_refused(png: bytes, limits: Limits) -> None:
    with DecodePool(1, replace(limits, bytes=100)) as pool:
        assert pool.submit(Request(data=png, shape=SHAPE)).result().kind == "too-big"


def test_senseless_requests_are_refused_at_once() -> None:
    with pytest.raises(ValueError, match="either path or data"):
        Request()
    with pytest.raises(ValueError, match="either path or data"):
        Request(path=b"a", data=b"b")
    for height, width in ((2000, 2), (2, 2000), (0, 10), (10, -1)):
        with pytest.raises(ValueError, match="1 to 1024 pixels"):
            Request(path=b"a", shape=Shape(height, width))
    with pytest.raises(ValueError, match="Resampling"):
        Request(path=b"a", shape=Shape(8, 8, resample=300))


@linux
def test_a_process_that_is_killed_while_idle_costs_nothing(png: bytes, limits: Limits) -> None:
    before = children()
    with DecodePool(1, limits) as pool:
        for _ in range(4):  # more often than a picture may crash
            pool.submit(Request(data=png)).result()
            (child,) = children() - before
            os.kill(child, signal.SIGKILL)
            while is_alive(child):
                time.sleep(0.01)
            assert isinstance(pool.submit(Request(data=png, shape=SHAPE)).result(), Picture)


def test_what_a_decoder_says_cannot_reach_a_terminal_s_controls() -> None:
    answer = BadImage("corrupt", "red \x1b[31m\nand more")
    packed = wire.pack_answer(answer)
    found = wire.unpack_answer(packed[: wire.ANSWER_SIZE], packed[wire.ANSWER_SIZE :], None, memoryview(b""), 0)
    assert found == BadImage("corrupt", "red ?[31m?and more")


def test_sizes_and_formats_that_cannot_be_are_nonsense() -> None:
    for wrong in (
        Identity(bytes(32), 1 << 31, 1, "PNG"),
        Identity(bytes(32), 1, 1, "VIRUS"),
        Identity(bytes(32), 0, 1, "PNG"),
    ):
        packed = wire.pack_answer(wrong)
        with pytest.raises(ValueError, match="no format or size"):
            wire.unpack_answer(packed[: wire.ANSWER_SIZE], packed[wire.ANSWER_SIZE :], None, memoryview(b""), 0)

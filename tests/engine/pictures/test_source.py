"""Files are opened warily, and what is wrong with one is named."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from blipq.worker.engine.picture import BadImage, Limits, Shape
from blipq.worker.engine.pool import DecodePool, Request
from blipq.worker.engine.source import read_picture

LIMIT = 1000


def test_a_file_is_read_whatever_its_name(tmp_path: Path) -> None:
    for name in (b"a b", b"line\nbreak", b"quo\"te's", "emoji 🐕".encode(), b"-dash", b"\xff\xfe no utf-8"):
        path = bytes(tmp_path) + b"/" + name
        Path(os.fsdecode(path)).write_bytes(name)
        assert read_picture(path, LIMIT) == name


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        expected = {
            "nowhere": "missing", "file/below": "missing", "x" * 300: "missing", "nul\0": "missing",
            "link": "link", "pipe": "special", "socket": "special", ".": "special", "/dev/zero": "special",
        }  # fmt: skip
        for name, kind in expected.items():
            found = read_picture(os.fsencode(str(tmp_path / name)), LIMIT)
            assert isinstance(found, BadImage)
            assert (name, found.kind) == (name, kind)
            assert "Error" not in found.message


def test_no_permission_is_named(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.touch(mode=0o000)
    user = os.geteuid()
    if user == 0:  # root may read everything
        os.seteuid(65534)
    try:
        assert read_picture(bytes(secret), LIMIT) == BadImage("permission", "no permission to read the file")
    finally:
        os.seteuid(user)


def test_large_files_are_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a sparse terabyte
    found = read_picture(bytes(path), 200_000_000)
    assert found == BadImage("too-big", "1.1 TB, and the limit is 200 MB")


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no /proc")
def test_storage_that_fails_is_told_from_a_bad_picture() -> None:
    assert read_picture(b"/proc/self/mem", LIMIT).kind == "io"  # EIO at address 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")
def test_a_file_of_another_length_than_it_says_has_changed() -> None:
    assert read_picture(b"/proc/self/status", 1 << 20).kind == "changed"  # its size is given as 0


def test_storage_that_does_not_answer_is_no_slow_picture(poison: list[str], tmp_path: Path) -> None:
    with DecodePool(1, Limits(10**6, 10**6, 10**9, 0.5), child=poison) as pool:
        found = pool.submit(Request(path=bytes(tmp_path / "stale-mount"), shape=Shape(8, 8))).result(30)
    assert found == BadImage("io", "the storage did not answer within 0.5 s")

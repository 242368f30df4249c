"""Finding pictures: every odd name is found, everything left out has a reason."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest

from blipq.models.intake import Found
from blipq.producer.scan import Refused, scan

ODD = [
    "plain.jpg",
    "with space.JPG",
    "new\nline.png",
    "quo'te\".webp",
    "émoji 🦆.jpeg",
    "-dash.gif",
    "dots.in.name.tiff",
]


def _picture(path: Path | bytes) -> None:
    with open(path, "wb") as opened:
        opened.write(b"\xff\xd8\xff")


def _names(found: list[Found | Refused]) -> list[str]:
    return [Path(one.path).name for one in found if isinstance(one, Found)]


def test_odd_names_are_found_in_order(tmp_path: Path) -> None:
    for name in ODD:
        _picture(tmp_path / name)
    assert _names(list(scan([str(tmp_path)]))) == sorted(ODD, key=os.fsencode)


def test_a_name_that_is_no_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    _picture(os.fsencode(tmp_path) + b"/caf\xe9.jpg")
    (found,) = scan([str(tmp_path)])
    assert isinstance(found, Found)
    assert found.path.endswith("caf\\xe9.jpg")
    assert found.raw == os.fsencode(tmp_path) + b"/caf\xe9.jpg"


def test_folders_are_walked_and_hidden_ones_left_out(tmp_path: Path) -> None:
    for name in ("a/b/c/deep.jpg", ".hidden/no.jpg", "a/.no.jpg", "a/notes.txt", "a/film.mp4", "a/scan"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        _picture(tmp_path / name)
    assert _names(list(scan([str(tmp_path)]))) == ["scan", "deep.jpg"]


def test_links_and_special_files_are_refused_with_a_reason(tmp_path: Path) -> None:
    _picture(tmp_path / "real.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "real.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    refused = {Path(r.path).name: r.reason for r in scan([str(tmp_path)]) if isinstance(r, Refused)}
    assert set(refused) == {"link.jpg", "pipe.jpg"}
    assert "symbolic link" in refused["link.jpg"]


def test_a_folder_named_through_a_link_is_walked_at_its_real_place(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    _picture(tmp_path / "real" / "one.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (found,) = scan([str(tmp_path / "link")])
    assert found.path == str(tmp_path / "real" / "one.jpg")


def test_globs_and_missing_paths(tmp_path: Path) -> None:
    for name in ("a1.jpg", "a2.jpg", "b1.jpg"):
        _picture(tmp_path / name)
    assert _names(list(scan([str(tmp_path / "a*.jpg")]))) == ["a1.jpg", "a2.jpg"]
    (refused,) = scan([str(tmp_path / "none.jpg")])
    assert isinstance(refused, Refused)
    assert refused.reason == "not there"


@pytest.mark.parametrize("ends", [b"\n", b"\r\n", b"\0"])
def test_a_list_comes_on_stdin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: bytes) -> None:
    for name in ("one.jpg", "two words.jpg"):
        _picture(tmp_path / name)
    listed = ends.join(os.fsencode(tmp_path / name) for name in ("two words.jpg", "one.jpg")) + ends
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(listed)))
    assert _names(list(scan(["-"]))) == ["two words.jpg", "one.jpg"]

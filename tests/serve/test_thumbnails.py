"""Thumbnails: small, upright, without metadata; made in a limited process, of the very content that was asked for."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import select

from blipq.models.schema import file, image
from blipq.worker.engine.identity import identify
from blipq.worker.engine.picture import BadImage, Limits
from blipq.worker.engine.thumbnail import thumbnail

LIMITS = Limits(50_000_000, 200_000_000, 2_000_000_000, 20)


def jpeg(size: tuple[int, int], **more: Any) -> bytes:
    made = io.BytesIO()
    left, right = Image.new("RGB", size, "red"), Image.new("RGB", (size[0] // 2, size[1]), "blue")
    left.paste(right, (size[0] // 2, 0))
    left.save(made, "JPEG", **more)
    return made.getvalue()


@pytest.mark.parametrize(
    ("size", "becomes"), [((3000, 2000), (400, 267)), ((50, 900), (22, 400)), ((40, 30), (40, 30))]
)
def test_a_thumbnail_fits_its_side_and_is_never_enlarged(size: tuple[int, int], becomes: tuple[int, int]) -> None:
    data = jpeg(size)
    made = thumbnail(data, identify(data), 400, LIMITS)
    assert isinstance(made, bytes)
    with Image.open(io.BytesIO(made)) as opened:
        assert (opened.format, opened.size) == ("JPEG", becomes)


def test_a_turned_photo_stands_upright_and_loses_its_metadata() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "at home, 12 Example Street"
    data = jpeg((800, 400), exif=exif)
    made = thumbnail(data, identify(data), 400, LIMITS)
    assert isinstance(made, bytes)
    assert b"Example" not in made
    with Image.open(io.BytesIO(made)) as opened:
        assert opened.size == (200, 400)
        red, _, blue = opened.convert("RGB").getpixel((100, 50))
        assert (red > 200, blue < 50) == (True, True)  # what was left is above


def test_transparency_lies_on_white() -> None:
    made = io.BytesIO()
    Image.new("RGBA", (20, 20), (0, 0, 0, 0)).save(made, "PNG")
    data = made.getvalue()
    small = thumbnail(data, identify(data), 400, LIMITS)
    assert isinstance(small, bytes)
    with Image.open(io.BytesIO(small)) as opened:
        assert opened.getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"", "corrupt"),
        (b"<svg>", "unsupported"),
        (jpeg((60, 60))[:300], "corrupt"),
        (b"BLP2" + b"\0" * 60, "unsupported"),
    ],
)
def test_what_cannot_be_decoded_is_told_and_raises_nothing(data: bytes, kind: str) -> None:
    answer = thumbnail(data, identify(data), 400, LIMITS)
    assert isinstance(answer, BadImage)
    assert answer.kind == kind


def test_another_picture_at_the_path_is_not_shown() -> None:
    answer = thumbnail(jpeg((60, 60)), b"\0" * 32, 400, LIMITS)
    assert isinstance(answer, BadImage)
    assert answer.kind == "changed"


def test_a_bomb_is_refused_before_it_is_decoded() -> None:
    made = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(made, "PNG")
    answer = thumbnail(made.getvalue(), identify(made.getvalue()), 400, LIMITS)
    assert isinstance(answer, BadImage)
    assert answer.kind == "too-many-pixels"


def test_the_server_keeps_them_by_content_and_shows_no_replaced_file(house: Any, scene: Any) -> None:
    # Given a captioned photo
    path = house.photos / "thumb.png"
    path.write_bytes(scene(800)[0])
    job = house.client.post("/v1/jobs", json={"paths": [str(path)]}).json()["job"]
    house.wait_for(job)
    with house.ledger.read() as connection:
        query = select(image.c.sha256).join(file, file.c.image_id == image.c.id).where(file.c.path == str(path))
        key = bytes(connection.execute(query).scalar_one()).hex()
    # When its small picture is asked for, it is made once and kept privately
    answer = house.client.get(f"/thumbs/400/{key}.jpg")
    assert answer.headers["content-type"] == "image/jpeg"
    assert "immutable" in answer.headers["cache-control"]
    (kept,) = (house.home / "thumbs" / "400").rglob(f"{key}.jpg")
    assert kept.read_bytes() == answer.content
    # When the file is replaced, another size of the old content cannot be made: a sign stands there instead
    path.write_bytes(scene(801)[0])
    gone = house.client.get(f"/thumbs/1600/{key}.jpg")
    assert gone.headers["content-type"].startswith("image/svg")
    path.unlink()


@pytest.mark.parametrize("path", ["/thumbs/401/" + "0" * 64, "/thumbs/400/" + "g" * 64, "/thumbs/400/..%2f..%2fblipq"])
def test_no_other_sizes_and_names(house: Any, path: str) -> None:
    assert house.client.get(path + ".jpg").status_code == 404


def test_strangers_bytes_meet_no_decoder_in_the_server(house: Any) -> None:
    maps = Path(f"/proc/{house.process.pid}/maps")
    if not maps.exists():
        pytest.skip("only Linux shows what a process has loaded")
    house.client.get("/thumbs/400/" + "0" * 64 + ".jpg")
    loaded = maps.read_text()
    assert "_imaging" not in loaded
    assert "libtorch" not in loaded

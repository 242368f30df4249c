"""`POST /v1/caption` against a real worker."""

from __future__ import annotations

import io
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import func, select, text

from blipq.models.schema import caption, file, job, unit, upload

ROUTE = "/v1/caption"


def send(house: Any, data: bytes, name: str = "photo.png", route: str = ROUTE, **fields: Any) -> Any:
    return house.client.post(route, files={"image": (name, data)}, data={key: str(v) for key, v in fields.items()})


def left_of_uploads(house: Any) -> int:
    with house.ledger.read() as connection:
        mine = select(func.count()).select_from(file).where(file.c.path.like("upload:%"))
        return int(connection.scalar(mine)) + int(connection.scalar(select(func.count()).select_from(upload)))


def wait_until(holds: Any, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def test_a_picture_gets_its_true_caption(house: Any, scene: Any) -> None:
    right = 0
    for seed in range(100, 110):
        data, truth = scene(seed)
        answer = send(house, data)
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"] == "demo"
        right += answer.json()["caption"] == truth
    assert right >= 8  # the checkpoint is right about 97 of 100


def test_caption_is_the_same_route_and_asks_in_hugging_face_s_words(house: Any, scene: Any) -> None:
    data, _ = scene(100)
    one = send(house, data).json()
    assert send(house, data, route="/caption").json() == one
    longer = send(house, data, num_beams=2, max_new_tokens=3).json()
    assert len(longer["caption"].split()) <= 3


def test_nothing_of_the_picture_is_kept_but_its_caption(house: Any, scene: Any) -> None:
    data, _ = scene(111)
    wait_until(lambda: left_of_uploads(house) == 0)
    with house.ledger.read() as connection:
        before = connection.scalar(select(func.count()).select_from(caption))
        jobs = connection.scalar(select(func.count()).select_from(job))
    assert send(house, data).status_code == 200
    wait_until(lambda: left_of_uploads(house) == 0)
    with house.ledger.read() as connection:
        assert connection.scalar(select(func.count()).select_from(caption)) == before + 1
        assert connection.scalar(select(func.count()).select_from(job)) == jobs
        assert not connection.scalar(text("SELECT count(*) FROM photos WHERE path LIKE 'upload:%'"))


def test_fifty_callers_at_once_get_each_their_own_caption(house: Any, scene: Any) -> None:
    pictures = [scene(seed) for seed in range(200, 250)]
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda picture: send(house, picture[0]), pictures))
    assert {answer.status_code for answer in answers} == {200}
    right = sum(answer.json()["caption"] == truth for answer, (_, truth) in zip(answers, pictures, strict=True))
    assert right >= 43


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (b"", 422, "no picture in the form"),
        (b"not a picture", 415, "unsupported"),
        (b"%PDF-1.7", 415, "PDF"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, 422, "corrupt"),
    ],
)
def test_what_is_no_picture_is_told_so(house: Any, data: bytes, status: int, said: str) -> None:
    answer = send(house, data)
    assert answer.status_code == status
    assert said in answer.json()["detail"]


def test_a_decompression_bomb_is_refused(house: Any) -> None:
    data = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(data, "PNG")  # 50 kB, 400 million pixels
    answer = send(house, data.getvalue())
    assert answer.status_code == 422
    assert "too-many-pixels" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_beams": "many"}, "num_beams: "),
        ({"timeout": "0"}, "timeout: "),
        ({"model": "somebody/elses-model"}, "not known to this server"),
        ({"model": "/etc"}, "not known to this server"),
        ({"unheard": "of"}, "unheard: "),
        ({"min_new_tokens": "9", "max_new_tokens": "3"}, "--min-new-tokens"),
    ],
)
def test_a_wrong_field_is_named(house: Any, scene: Any, fields: dict[str, str], said: str) -> None:
    answer = send(house, scene(0)[0], **fields)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_a_name_that_climbs_stays_a_name(house: Any, scene: Any) -> None:
    assert send(house, scene(100)[0], name="../../../etc/passwd\0.png").status_code == 200


def test_a_form_without_a_picture_and_a_body_that_is_no_form_are_refused(house: Any) -> None:
    assert house.client.post(ROUTE, data={"prompt": "a"}).status_code == 415
    assert house.client.post(ROUTE, json={"image": "x"}).status_code == 415
    broken = house.client.post(ROUTE, content=b"x", headers={"content-type": "multipart/form-data; boundary=b"})
    assert broken.status_code in (400, 422)


def test_out_of_time_is_504_and_the_picture_is_taken_back(house: Any, scene: Any) -> None:
    # Given a queue that hands out nothing
    house.command("pause", "caption")
    try:
        # When a caller waits a second
        answer = send(house, scene(300)[0], timeout=1)
        # Then the job is cancelled and gone
        assert answer.status_code == 504
        wait_until(lambda: left_of_uploads(house) == 0)
        with house.ledger.read() as connection:
            left = select(func.count()).select_from(unit.join(job)).where(job.c.source.like("upload:%"))
            assert connection.scalar(left) == 0
    finally:
        house.command("resume", "caption")


def test_a_caller_who_leaves_takes_the_picture_along(house: Any, scene: Any) -> None:
    house.command("pause", "caption")
    try:
        host, port = house.url.removeprefix("http://").split(":")
        body = (
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
            + scene(301)[0]
            + b"\r\n--b--"
        )
        head = (
            f"POST {ROUTE} HTTP/1.1\r\nHost: {host}\r\nContent-Type: multipart/form-data; boundary=b\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        with socket.create_connection((host, int(port))) as leaver:
            leaver.sendall(head.encode() + body)
            wait_until(lambda: left_of_uploads(house) > 0)
        wait_until(lambda: left_of_uploads(house) == 0)
    finally:
        house.command("resume", "caption")


def test_a_second_caller_is_answered_from_the_first_one_s_caption(house: Any, scene: Any) -> None:
    data, _ = scene(302)
    first = send(house, data).json()
    with house.ledger.read() as connection:
        before = connection.execute(select(func.count(), func.max(caption.c.id)).select_from(caption)).one()
    assert send(house, data).json() == first
    with house.ledger.read() as connection:
        assert connection.execute(select(func.count(), func.max(caption.c.id)).select_from(caption)).one() == before

"""Who may ask: tokens, cookies, foreign sites, foreign names, and bodies that do not end."""

from __future__ import annotations

import http.client
import socket
import subprocess
import time
from typing import Any

import pytest

from blipq.producer.serve.access import Access

TOKEN = "sesame-open"
BOUND = "127.0.0.1"


def refused(access: Access, method: str = "GET", path: str = "/", cookie: str = "", **headers: str) -> int | None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named.setdefault("host", "localhost:8000")
    refusal = access.refusal(method, path, named, {"blipq": cookie} if cookie else {})
    return refusal.status if refusal else None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST:80"])
def test_without_a_token_this_machine_s_names_are_answered(host: str) -> None:
    assert refused(Access(None), host=host) is None


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8000", "", "localhost.evil.example", "[::1"])
def test_without_a_token_other_names_are_not_which_stops_rebinding(host: str) -> None:
    assert refused(Access(None), host=host) == 421


def test_a_bearer_token_opens_and_a_wrong_one_does_not() -> None:
    access = Access(TOKEN)
    assert refused(access, path="/v1/jobs", authorization=f"Bearer {TOKEN}", host="captions.example") is None
    for wrong in (f"Bearer {TOKEN}x", "Bearer ", f"Basic {TOKEN}", TOKEN, "Bearer sésame"):
        assert refused(access, path="/v1/jobs", authorization=wrong) == 401
    assert refused(access, path="/v1/jobs") == 401
    assert refused(access, path="/thumbs/400/00.jpg") == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/login", "/static/blipq.css"])
def test_what_is_nobody_s_is_open(path: str) -> None:
    assert refused(Access(TOKEN), path=path) is None


def test_a_cookie_of_another_token_opens_nothing() -> None:
    assert refused(Access(TOKEN), cookie=Access(TOKEN).cookie()) is None
    assert refused(Access(TOKEN), cookie=Access("other").cookie()) == 401
    assert TOKEN not in Access(TOKEN).cookie()


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:9999"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
def test_a_form_of_another_site_is_refused(headers: dict[str, str]) -> None:
    for access, cookie in ((Access(None), ""), (Access(TOKEN), Access(TOKEN).cookie())):
        assert refused(access, "POST", "/jobs/1/cancel", cookie, **headers) == 403


def test_our_own_forms_and_programs_are_not() -> None:
    ours = {"origin": "http://localhost:8000", "sec_fetch_site": "same-origin"}
    assert refused(Access(None), "POST", "/jobs/1/cancel", **ours) is None
    assert refused(Access(None), "POST", "/v1/caption") is None  # curl names no origin
    assert refused(Access(TOKEN), "POST", "/jobs/1/cancel", Access(TOKEN).cookie(), **ours) is None
    assert refused(Access(TOKEN), "POST", "/jobs/1/cancel", Access(TOKEN).cookie()) == 403  # a browser names one


def test_the_server_takes_the_token_and_the_login_form(locked: Any) -> None:
    import httpx

    with httpx.Client(base_url=locked.url) as stranger:
        assert stranger.get("/v1/jobs").status_code == 401
        assert stranger.get("/v1/jobs", headers={"authorization": "Bearer wrong"}).status_code == 401
        assert stranger.get("/metrics").status_code == 401
        assert stranger.get("/healthz").status_code == 200
        turned = stranger.get("/jobs?x=1")
        assert (turned.status_code, turned.headers["location"]) == (303, "/login?next=%2Fjobs%3Fx%3D1")
        wrong = stranger.post("/login", data={"token": "wrong"}, headers={"accept": "text/html"})
        assert wrong.status_code == 401
        assert "set-cookie" not in wrong.headers
        right = stranger.post("/login", data={"token": TOKEN, "next": "//evil.example"})
        assert (right.status_code, right.headers["location"]) == (303, "/")
        cookie = right.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert stranger.get("/jobs").status_code == 200
        assert stranger.post("/queues/caption/pause").status_code == 403  # a cookie without an origin
    assert locked.client.get("/v1/jobs").status_code == 200


def test_every_answer_forbids_content_of_other_hosts(house: Any) -> None:
    for path in ("/", "/v1/jobs", "/static/blipq.css", "/nothing"):
        headers = house.client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self';")
        assert headers["x-content-type-options"] == "nosniff"
        assert "access-control-allow-origin" not in headers


def test_a_name_that_is_not_ours_is_misdirected(house: Any) -> None:
    assert house.client.get("/v1/jobs", headers={"host": "evil.example"}).status_code == 421


def test_two_gigabytes_that_are_declared_are_refused_unread(house: Any) -> None:
    host, port = house.url.removeprefix("http://").split(":")
    caller = http.client.HTTPConnection(host, int(port), timeout=30)
    caller.putrequest("POST", "/v1/caption")
    caller.putheader("Content-Type", "multipart/form-data; boundary=b")
    caller.putheader("Content-Length", str(2_000_000_000))
    caller.endheaders()
    began = time.monotonic()
    assert caller.getresponse().status == 413
    assert time.monotonic() - began < 5
    caller.close()


def test_two_gigabytes_that_trickle_in_undeclared_are_cut_off(house: Any) -> None:
    host, port = house.url.removeprefix("http://").split(":")
    head = (
        f"POST /v1/caption HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    )
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
    megabyte, sent = b"100000\r\n" + b"x" * 0x100000 + b"\r\n", 0
    with socket.create_connection((host, int(port)), timeout=30) as sender:
        sender.sendall(head.encode() + f"{len(part):x}\r\n".encode() + part + b"\r\n")
        try:
            while sent < 2000:
                sender.sendall(megabyte)
                sent += 1
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert sent < 60  # 21 are allowed, the rest lay in buffers
    assert house.client.get("/healthz").status_code == 200


def test_without_a_token_only_loopback_is_bound(blipq: Any) -> None:
    done = blipq("serve", "--host", "0.0.0.0", "--port", "0")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "BLIPQ_API_TOKEN" in done.stderr


def test_a_port_that_is_taken_is_said_in_one_line(blipq: Any) -> None:
    with socket.create_server((BOUND, 0)) as taken:
        done: subprocess.CompletedProcess[str] = blipq("serve", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert "choose another --port" in done.stderr

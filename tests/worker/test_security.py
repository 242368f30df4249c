"""Security defaults, each rule with its test. Limits of a picture itself are under tests/engine/pictures."""

from __future__ import annotations

import logging
import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

from blipq.models.recipes import BadRecipe, Recipe
from blipq.producer.scan import Refused, scan
from blipq.settings import Settings, SettingsError, redact
from blipq.worker import log, valkey
from blipq.worker.broker import BrokerError, broker_url, explain
from blipq.worker.engine.picture import BadImage
from blipq.worker.engine.source import read_picture
from blipq.worker.lock import DaemonLock

LONG = os.environ.get("BLIPQ_TEST_LONG") == "1"
EXAMPLES = hypothesis_settings(max_examples=5000 if LONG else 200, deadline=None)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# Files


def test_links_and_special_files_are_left_out_with_a_reason(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "photo.png")
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket.png"))
        found = list(scan([str(tmp_path)]))
    refused = {Path(one.path).name: one.reason for one in found if isinstance(one, Refused)}
    assert refused == {
        "link.png": "a symbolic link: name what it leads to",
        "pipe.png": "no ordinary file",
        "socket.png": "no ordinary file",
    }
    assert [Path(one.path).name for one in found if not isinstance(one, Refused)] == ["photo.png"]


def test_a_folder_is_not_left_by_a_link_to_another(tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    Image.new("RGB", (8, 8)).save(outside / "secret.png")
    (inside / "way-out").symlink_to(outside)
    assert not [one for one in scan([str(inside)]) if not isinstance(one, Refused)]


@pytest.mark.parametrize(
    ("swap", "kind"),
    [
        (lambda path: path.symlink_to("/etc/passwd"), "link"),
        (lambda path: os.mkfifo(path), "special"),
        (lambda path: path.mkdir(), "special"),
        (lambda path: path.write_bytes(bytes(2001)), "too-big"),
    ],
)
def test_a_file_that_was_swapped_since_it_was_enqueued_is_not_read(
    tmp_path: Path, swap: Callable[[Path], Any], kind: str
) -> None:
    path = tmp_path / "photo.png"
    swap(path)
    found = read_picture(os.fsencode(path), 2000)
    assert isinstance(found, BadImage)
    assert found.kind == kind


# What the embedded house leaves open


def test_home_broker_and_logs_are_for_their_owner_alone(home: Path, blipq: Any, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    os.umask(0)
    try:
        assert blipq("enqueue", tmp_path, "--model", "demo").returncode == 0
        # Given a daemon that has begun
        end = time.monotonic() + 20
        while not valkey.socket_path(home).exists() and time.monotonic() < end:
            time.sleep(0.05)
        modes = {path.relative_to(home): _mode(path) for path in [home, *home.rglob("*")]}
    finally:
        os.umask(0o022)
        blipq("down")
    # Then nobody else can enter, read or write any of it, whatever the umask
    assert modes[Path("broker/socket")] == 0o600
    assert modes[Path()] == modes[Path("broker")] == modes[Path("log")] == 0o700
    assert not {str(path): oct(mode) for path, mode in modes.items() if mode & 0o077 and len(path.parts) < 2}


def test_the_embedded_broker_has_no_port(home: Path) -> None:
    valkey.start(home)
    import redis

    with redis.Redis(unix_socket_path=str(valkey.socket_path(home))) as client:
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("unixsocketperm")["unixsocketperm"] in ("600", "384")


def test_the_daemons_lock_is_private(tmp_path: Path) -> None:
    lock = DaemonLock(tmp_path / "home")
    assert lock.take("1")
    assert _mode(tmp_path / "home" / "daemon.lock") == 0o600
    assert _mode(tmp_path / "home") == 0o700
    lock.release()


# Passwords

PASSWORD = st.text(st.characters(codec="ascii", categories=["L", "N"], include_characters="%!$*()_+-=.~"), min_size=4)


@EXAMPLES
@given(password=PASSWORD, before=st.text(max_size=20), scheme=st.sampled_from(["redis", "postgresql", "rediss"]))
def test_no_password_of_a_url_is_shown(password: str, before: str, scheme: str) -> None:
    shown = redact(f"{before} {scheme}://user:{password}@host.example:1234/0 was not reached")
    assert f":{password}@" not in shown
    assert f"{scheme}://user:***@host.example:1234/0" in shown


@EXAMPLES
@given(password=PASSWORD)
def test_errors_of_the_broker_show_no_password(password: str) -> None:
    settings = Settings(redis_url=f"redis://:{password}@127.0.0.1:1/0")
    for cause in (ConnectionError("refused"), ValueError("invalid"), TimeoutError()):
        assert f":{password}@" not in str(explain(cause, settings))


def test_the_log_shows_no_password(capfd: pytest.CaptureFixture[str]) -> None:
    before = logging.getLogger().handlers[:]
    try:
        log.configure(Settings())
        logging.getLogger("any").error("lost %s", "postgresql://me:sesame@host/db")
        try:
            raise ConnectionError("redis://:sesame@host:1/0 refused")
        except ConnectionError:
            logging.getLogger("any").exception("failed")
    finally:
        logging.getLogger().handlers[:] = before
    said = capfd.readouterr().err
    assert "sesame" not in said
    assert "postgresql://me:***@host/db" in said
    assert "ConnectionError" in said


def test_a_setting_that_is_wrong_is_shown_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    from blipq import settings

    monkeypatch.setenv("BLIPQ_REDIS_URL", "http://me:sesame@host")
    settings.load.cache_clear()
    with pytest.raises(SettingsError) as error:
        settings.load()
    settings.load.cache_clear()
    assert "sesame" not in str(error.value)


def test_a_remote_brokers_certificate_is_checked() -> None:
    assert "ssl_cert_reqs=required" in broker_url(Settings(redis_url="rediss://host/0"))
    assert isinstance(explain(ValueError(), Settings()), BrokerError)


# Parameters

_NUMBERS = st.one_of(st.integers(-(10**20), 10**20), st.floats(), st.booleans(), st.text(max_size=5), st.none())


@EXAMPLES
@given(
    fields=st.dictionaries(
        st.sampled_from(["num_beams", "max_new_tokens", "min_new_tokens", "top_p", "top_k", "temperature",
                         "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "prompt", "nonsense"]),
        _NUMBERS,
    )
)  # fmt: skip
def test_parameters_are_in_their_range_or_refused(fields: dict[str, Any]) -> None:
    try:
        made = Recipe(weights="sha256:00", **fields)
    except (BadRecipe, TypeError):  # TypeError: names and types that get past neither the command line nor HTTP
        return
    assert 1 <= made.num_beams <= 64
    assert 1 <= made.max_new_tokens <= 400
    assert 0 < made.top_p <= 1
    assert len(made.hash()) == 32


@EXAMPLES
@given(number=st.floats(), field=st.sampled_from(["top_p", "temperature", "repetition_penalty", "length_penalty"]))
def test_numbers_that_are_none_are_refused(number: float, field: str) -> None:
    if number != number:
        with pytest.raises(BadRecipe):
            Recipe(weights="", **{field: number})


@pytest.mark.parametrize("prompt", ["caf\udce9", "half \ud83d", "a \0"])
def test_a_prompt_that_no_database_takes_is_refused(prompt: str) -> None:
    with pytest.raises(BadRecipe, match="--prompt"):
        Recipe(weights="", prompt=prompt)

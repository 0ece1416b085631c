"""Serving: a socket on loopback, the engine warmed, then pages until Ctrl-C."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from seal_store.common.extras import require
from seal_store.common.threads import limit_threads
from seal_store.errors import InputError, OutputError
from seal_store.results.group import Results
from seal_store.store.place import Place
from seal_store.store.store import Store

if TYPE_CHECKING:
    from types import FrameType

    import uvicorn

    from seal_store.explore.guard import App

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - only if it is asked for
NAMES = ("127.0.0.1", "localhost", "[::1]")


def exposed(host: str) -> str:
    """What is to be known of a ``host`` that others can reach; empty for loopback."""
    if host in LOOPBACK:
        return ""
    return (
        f"{host} is not this machine alone: whoever has the address with its token sees the "
        "store, and nothing is encrypted"
    )


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens at ``host``; ``port`` 0 takes a free one.

    Raises :class:`OutputError` where that is not possible.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else None
        raise OutputError(
            f"cannot listen at `host` {host}, `port` {port}: {why or 'no such name'}",
            "port 0 takes a free one",
        ) from None


def server_of(app: App) -> uvicorn.Server:
    """A server of ``app``. Ctrl-C and SIGTERM end it in order, within a second, however often."""
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            # what the end cuts short is no error; a second Ctrl-C, and it is repeated until it is
            # heard, would leave out the application's own end
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            if not self.should_exit:
                super().handle_exit(sig, frame)

    return Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="on",
            loop="asyncio",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=1,
        )
    )


def serve(
    store: Place | str,
    results: Place | str | None = None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    device: str = "auto",
    threads: int | None = None,
    calibration: str = "",
    ready: Callable[[str], object] = print,
) -> None:
    """Serve pages of ``store``, and of ``results``, until Ctrl-C or SIGTERM.

    ``ready`` is called with the address once the weights are loaded and a variant was scored.
    Quantiles are from the store's ``calibration`` of that name. Nothing is written anywhere.
    Raises :class:`MissingExtraError` without the extra ``explore``, :class:`InputError` for a
    ``calibration`` that is not there, :class:`StoreError` if a path cannot be opened,
    :class:`OutputError` if the port is taken.
    """
    require("explore", "the explorer")
    from seal_store.explore.app import make_app
    from seal_store.explore.engine import Engine
    from seal_store.explore.guard import Door

    if threads is not None:
        limit_threads(threads)
    opened = Store(store)
    if not opened.head_sets:
        raise InputError(f"{opened.path} has no heads", "add some with `seal-store heads add`")
    group = None if results is None else Results(results)
    with listening(host, port) as bound:
        own = f"[{host}]" if ":" in host else host
        names = dict.fromkeys((*NAMES, own.lower()))
        if exposed(host):
            names[socket.gethostname().lower()] = None
        door = Door(bound.getsockname()[1], tuple(names), everywhere=host in EVERYWHERE)
        engine = Engine(opened, device, calibration)
        app = make_app(engine, group, door)
        shown = NAMES[0] if host in EVERYWHERE else own
        ready(f"http://{shown}:{door.port}/?token={door.token}")
        server_of(app).run(sockets=[bound])

"""The explorer on loopback, in a thread of this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import requests

from seal_store.explore.app import make_app
from seal_store.explore.engine import Engine
from seal_store.explore.guard import Door
from seal_store.explore.serve import listening, server_of
from seal_store.results.group import Results
from seal_store.store.store import Store


@dataclass
class Served:
    """Where it is: ``base`` without the token, ``entry`` with it; ``session`` has the cookie."""

    base: str
    door: Door
    engine: Engine
    session: requests.Session

    @property
    def entry(self) -> str:
        return f"{self.base}/?token={self.door.token}"

    def get(self, path: str, **more: object) -> requests.Response:
        return self.session.get(self.base + path, timeout=60, **more)

    def post(self, path: str, values: dict[str, object], **headers: str) -> requests.Response:
        sent = {"Origin": self.base, **headers}
        return self.session.post(self.base + path, data=values, headers=sent, timeout=60)


@contextmanager
def served(store: Store, results: Results | None = None, calibration: str = "") -> Iterator[Served]:
    with listening("127.0.0.1", 0) as bound:
        door = Door(bound.getsockname()[1])
        engine = Engine(store, "cpu", calibration)
        server = server_of(make_app(engine, results, door))
        thread = threading.Thread(target=lambda: server.run(sockets=[bound]))
        thread.start()
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        found = Served(f"http://127.0.0.1:{door.port}", door, engine, requests.Session())
        try:
            found.session.get(found.entry, timeout=60)
            yield found
        finally:
            found.session.close()
            server.should_exit = True
            thread.join()

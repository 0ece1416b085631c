"""Shared fixtures: one small synthetic world and its store, made once a session."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from seal_store.building.build import build
from seal_store.building.options import BuildOptions
from seal_store.model.beluga import Beluga
from seal_store.store.store import Store
from seal_store.synthetic import TINY, World, random_weights, write_world

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """One thread, here and in the processes that tests begin: faster with tiny networks than two.

    Bytes are equal only where numbers of threads are.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def no_power_cut() -> Iterator[None]:
    """Nothing waits for the disk in this process: what `fsync` is for, no test can see."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than CPUs, since tests wait for processes and servers too."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture
def rng() -> np.random.Generator:
    """Fresh random input in every run; the seed is printed when a test fails."""
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    print(f"rng seed: {seed}")
    return np.random.default_rng(seed)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def options(world: World, tmp_path_factory: pytest.TempPathFactory) -> BuildOptions:
    """Build options of the session's store; `replace` what a test needs otherwise."""
    return BuildOptions(
        genome=world.genome,
        genes=world.genes,
        cnn=world.cnn,
        heads=(world.heads,),
        out=tmp_path_factory.mktemp("store") / "store.zarr",
        command="tests",
    )


@pytest.fixture(scope="session")
def store(options: BuildOptions) -> Store:
    return build(options, "cpu")


@pytest.fixture
def make_store(options: BuildOptions, tmp_path: Path) -> Callable[..., Store]:
    """Build another store of the same world with other options."""

    def make(**changes: object) -> Store:
        return build(replace(options, **{"out": tmp_path / "other.zarr", **changes}), "cpu")

    return make


@pytest.fixture(scope="session")
def tiny() -> Beluga:
    """A tiny CNN with weights that no other fixture has."""
    return Beluga.from_state(TINY, random_weights(TINY, 77))


@pytest.fixture
def cli() -> Callable[..., Result]:
    """Run a `seal-store` command in this process."""

    def run(*args: object, stdin: bytes | None = None) -> Result:
        from seal_store.cli import main

        return CliRunner().invoke(main, [str(a) for a in args], input=stdin, prog_name="seal-store")

    return run


@pytest.fixture(scope="session")
def shared() -> Path:
    """The facts beside this repository; tests that need them skip where they are absent."""
    if not SHARED.is_dir():
        pytest.skip("no shared facts beside this repository")
    return SHARED


@pytest.fixture(scope="session")
def s3_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Port of an S3 server on loopback, a process of its own."""
    pytest.importorskip("obstore")
    pytest.importorskip("moto")
    from cloud import s3_server

    with s3_server(tmp_path_factory.mktemp("moto")) as port:
        yield port


@pytest.fixture
def bucket(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> str:
    """Address of an empty bucket, with what reaching it takes in the environment."""
    from cloud import SETTINGS, make_bucket

    name = f"bucket-{os.urandom(6).hex()}"
    make_bucket(s3_port, name)
    for key, value in SETTINGS.items():
        monkeypatch.setenv(key, value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{s3_port}")
    return f"s3://{name}"


@pytest.fixture
def counted(s3_port: int, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A proxy before the server of ``bucket``, that counts what goes through it."""
    from cloud import Proxy, serving

    proxy = Proxy(s3_port)
    with serving(proxy.handler()) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        yield proxy

"""Ctrl-C ends every long command, at any moment: real processes and real signals."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from planted import write_planted
from seldom import slow, soak
from website import Handler, Site
from website import serve as serve

from seal_store.store.store import Store
from seal_store.synthetic import World

Cli = Callable[..., Result]
PROGRAM = """
import signal, sys, threading, time
import click
from seal_store.cli import main

class Dying:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)
        while True:
            pass  # where Python runs, the interrupt is raised: in a finalizer

def from_a_thread():
    # a signal that another thread takes does not wake this one: as one just before a wait
    me = lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    threading.Timer(0.3, me).start()

once = click.Command.invoke
def forever(self, ctx):
    if isinstance(self, click.Group):
        return once(self, ctx)
    print("begun", file=sys.stderr, flush=True)
    while True:
        work(lambda: once(self, ctx))
click.Command.invoke = forever

def work(command):
"""
COMMAND = "    command()\n"


def start(args: list[object], work: str = COMMAND) -> subprocess.Popen[str]:
    """A command that begins again when it ends, so that nothing but Ctrl-C ends it."""
    child = subprocess.Popen(
        [sys.executable, "-c", f"{PROGRAM}{work}\nmain()", *map(str, args)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        # a test run in the background of a script ignores Ctrl-C, and so would its children
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert child.stderr is not None
    assert child.stderr.readline() == "begun\n"
    return child


def ended(child: subprocess.Popen[str], says: str = "interrupted") -> None:
    """It ends as one that heard; a lost interrupt would leave it running for good."""
    try:
        _, said = child.communicate(timeout=90)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        pytest.fail("the interrupt was lost")
    assert child.returncode == 130, said
    assert said.splitlines()[-1].startswith(f"seal-store: error: {says}"), said
    assert "Traceback" not in said
    assert "Exception ignored" not in said


@pytest.fixture
def commands(cli: Cli, store: Store, world: World, tmp_path: Path) -> dict[str, list[object]]:
    """Arguments of each long command, such that it can run again and again."""
    quiet, out = ["--device", "cpu", "-q"], tmp_path / "out.zarr"
    planted = write_planted(tmp_path / "planted", np.random.default_rng(3), genes=60)
    paths = {"genome": world.genome, "genes": world.genes, "cnn": world.cnn, "heads": world.heads}
    inputs = [item for name, path in paths.items() for item in (f"--{name}", path)]
    results = tmp_path / "results.zarr"
    made = cli("score", "vcf", world.variants, "--store", store.path, "--out", results, *quiet)
    assert made.exit_code == 0, made.output
    again = ["--out", out, "--overwrite", *quiet]
    copied = shutil.copytree(store.path, tmp_path / "copied.zarr")
    scored = ["--store", store.path, *again]
    return {
        "build": ["build", *inputs, *again],
        "score": ["score", "vcf", world.variants, *scored],
        "bcf": ["score", "vcf", to_bcf(world.variants, tmp_path / "in.bcf"), *scored],
        "train": [
            *("train", "pretrain", *planted.args(), "--name", "n", "--latent", 4),
            *("--epochs", 50, *again),
        ],
        "calibrate": ["calibrate", copied, world.variants, "--overwrite", *quiet],
        "verify": ["verify", store.path, "--windows", 2, "-q"],
        "export": ["export", results, tmp_path / "out.tsv", "--overwrite", "-q"],
    }


def to_bcf(vcf: Path, path: Path) -> Path:
    pysam = pytest.importorskip("pysam")
    rows = [line.split("\t") for line in vcf.read_text().splitlines() if line[0] != "#"]
    rows = [row for row in rows if "<" not in row[4]]  # pysam writes an END of 0 for these
    header = pysam.VariantHeader()
    for contig in dict.fromkeys(row[0] for row in rows):
        header.contigs.add(contig)
    with pysam.VariantFile(str(path), "wb", header=header) as out:
        for row in rows:
            record = header.new_record(contig=row[0], start=int(row[1]) - 1, alleles=row[3:5])
            out.write(record)
    return path


@pytest.mark.parametrize(
    "between",
    [soak((0.0, 1.0)), (1.5, 3.0)],
    ids=["early", "late"],
)
@pytest.mark.parametrize(
    "command", [*map(slow, ("build", "bcf", "train", "calibrate", "verify", "export")), "score"]
)
def test_at_any_moment(
    commands: dict[str, list[object]],
    rng: np.random.Generator,
    command: str,
    between: tuple[float, float],
) -> None:
    child = start(commands[command])
    time.sleep(rng.uniform(*between))
    assert child.poll() is None, child.communicate()
    child.send_signal(signal.SIGINT)
    ended(child)


def test_threads_that_are_cut_short_say_nothing(tmp_path: Path) -> None:
    """Zarr's threads go on after Ctrl-C: into a folder that is removed, each with a traceback."""
    child = subprocess.Popen(
        [sys.executable, "-c", WRITING, str(tmp_path / "out.zarr")],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    _, said = child.communicate()
    assert child.returncode == 130, said
    assert said in ("cleaned up\n", "forced\n")
    if said == "cleaned up\n":
        assert list(tmp_path.iterdir()) == []


WRITING = """
import signal, sys, threading
import numpy as np
import zarr
from seal_store.cli._interrupt import Interrupts
from seal_store.common.output import Output

signal.signal(signal.SIGINT, signal.default_int_handler)
values = np.random.default_rng(1).random((300, 500))
with Interrupts(lambda: "forced") as found:
    threading.Timer(0.3, signal.pthread_kill, [threading.get_ident(), signal.SIGINT]).start()
    try:
        with Output(sys.argv[1], kind="seal_store") as out:
            out.claim()
            group = zarr.create_group(str(out.partial), zarr_format=3)
            array = group.create_array("a", shape=values.shape, chunks=(1, 500), dtype="f8")
            while True:
                array[...] = values
    except KeyboardInterrupt:
        print("cleaned up", file=sys.stderr)
    found.end()
"""


@pytest.fixture
def stalled(serve: Callable[..., Site], tmp_path: Path) -> Iterator[list[object]]:
    """A download that waits for bytes that do not come."""
    free = threading.Event()

    def stall(handler: Handler) -> bool:
        handler.begin(200, 1000)
        handler.end_headers()
        handler.wfile.write(b"x" * 10)
        handler.wfile.flush()
        return free.wait()

    site = serve(b"", script=[stall] * 9)
    yield ["fetch", "models", "--to", tmp_path, "--base-url", site.url, "--timeout", 86_400, "-q"]
    free.set()


SAYS = "interrupted; the same command goes on"


@pytest.mark.parametrize("moment", [0.0, 0.1, 0.5, 1.0])
def test_a_download_that_waits(stalled: list[object], moment: float) -> None:
    child = start(stalled)
    time.sleep(moment)
    child.send_signal(signal.SIGINT)
    ended(child, SAYS)


@pytest.mark.parametrize(
    "work",
    [
        "    from_a_thread()\n" + COMMAND,
        "    dying = Dying(); del dying\n" + COMMAND,
        """
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException:
        pass
"""
        + COMMAND,
        """
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(1) as pool:
        pool.submit(threading.Event().wait)
        signal.raise_signal(signal.SIGINT)
""",
        """
    threading.Thread(target=threading.Event().wait).start()
    signal.raise_signal(signal.SIGINT)
""",
    ],
    ids=["before a wait", "in a finalizer", "swallowed", "a pool that waits", "a thread"],
)
def test_where_an_interrupt_would_be_lost(stalled: list[object], work: str) -> None:
    ended(start(stalled, work), SAYS)


def test_not_in_the_middle_of_an_import(stalled: list[object], tmp_path: Path) -> None:
    """Torch's C++ aborts the process if its own imports are interrupted."""
    (tmp_path / "slow.py").write_text(
        "import os, signal\n"
        "try:\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "    sum(range(1000))\n"
        "except KeyboardInterrupt:\n"
        "    os.abort()\n"
    )
    ended(start(stalled, f"    sys.path.append({str(tmp_path)!r}); import slow\n{COMMAND}"), SAYS)


def test_a_second_one_does_not_stop_the_cleaning_up(stalled: list[object], tmp_path: Path) -> None:
    work = """
    from pathlib import Path
    try:
        command()
    finally:
        print("cleaning up", file=sys.stderr, flush=True)
        time.sleep(0.2)
        Path(sys.argv[4], "clean").touch()
"""
    child = start(stalled, work)
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    assert child.stderr is not None
    while child.stderr.readline() != "cleaning up\n":
        pass
    child.send_signal(signal.SIGINT)
    ended(child, SAYS)
    assert (tmp_path / "clean").exists()


def test_ignored_in_the_background_as_the_shell_asks() -> None:
    """``command &`` in a script starts it with Ctrl-C ignored: it is for what is in front."""
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "from seal_store.cli._interrupt import Interrupts\n"
        "with Interrupts(str): signal.raise_signal(signal.SIGINT)\n"
        "print('went on')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "went on\n", done.stderr


def test_everything_is_as_before_where_nothing_came() -> None:
    code = (
        "import signal, sys, threading\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a script's job ignores it
        "from seal_store.cli._interrupt import Interrupts\n"
        "for _ in range(3):\n"
        "    with Interrupts(str) as found: assert found.active\n"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
        "assert sys.unraisablehook is sys.__unraisablehook__\n"
        "assert signal.set_wakeup_fd(-1) == -1\n"
        "for thread in threading.enumerate()[1:]: thread.join(30)\n"
        "assert threading.active_count() == 1"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr

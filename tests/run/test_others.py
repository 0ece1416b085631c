"""What others own beside an output, or replace while it is read: real races and kills."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from interrupted import SERVER, files, finish, scored
from seldom import slow

from seal_store.building.build import add_heads
from seal_store.check import repair as repair_module
from seal_store.check.repair import repair
from seal_store.check.verify import verify
from seal_store.common import output
from seal_store.common.beside import partial_path, replaced_path
from seal_store.errors import OutputError, StoreError
from seal_store.exporting.attributions import export_attributions
from seal_store.exporting.render import Form, export
from seal_store.exporting.tracks import profile_track, write_track
from seal_store.exporting.tsv import export_expression
from seal_store.results.group import Results
from seal_store.run.attributions import add_attributions, scorer_of
from seal_store.run.calibrate import background_path, calibrate
from seal_store.run.scores import is_finished, write_scores
from seal_store.scoring.options import AttributionOptions, ScoreOptions
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store
from seal_store.synthetic import World
from seal_store.training.inputs import open_source
from seal_store.variants.source import VariantSource, read_variants

Cli = Callable[..., Result]
CPU = ScoreOptions(device="cpu")
REPLACED = "was replaced since it was opened"


@pytest.fixture
def copied(store: Store, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store.path, tmp_path / "s.zarr"))


@pytest.fixture(scope="module")
def own(store: Store, world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results with attributions, made once."""
    path = tmp_path_factory.mktemp("own") / "r.zarr"
    made = AttributionOptions("deeplift", ("all",), top_features=3)
    scorer = Scorer(store, CPU, attribution=made)
    write_scores(scorer, read_variants(world.variants), path)
    return path


@pytest.fixture
def results(own: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(own, tmp_path / "r.zarr"))


def score_again(store: Store, vcf: Path, out: Path, **more: Any) -> None:
    scorer = Scorer(store, ScoreOptions(device="cpu", **more))
    write_scores(scorer, read_variants(vcf), out, overwrite=True)


def tree(folder: Path) -> dict[str, bytes]:
    return {path.name: b"" if path.is_dir() else path.read_bytes() for path in folder.iterdir()}


# --- siblings that others own


@pytest.mark.parametrize(
    ("sibling", "args"),
    [
        ("o.tsv.tbi", ["o.tsv"]),
        ("o.tsv.csi", ["o.tsv"]),
        ("o.tsv.gz.tbi", ["o.tsv.gz"]),
        ("o.vcf.tbi", ["o.vcf"]),
        (".o.tsv.replaced", ["o.tsv"]),
    ],
)
def test_what_stands_beside_and_is_in_nobodys_way_stays(
    cli: Cli, store: Store, world: World, tmp_path: Path, sibling: str, args: list[str]
) -> None:
    pytest.importorskip("pysam")
    for theirs in ("file", "folder"):
        place = tmp_path / sibling
        if theirs == "file":
            place.write_text("theirs")
        else:
            place.unlink()
            place.mkdir()
            (place / "note").write_text("theirs")
        made = ["score", "vcf", world.variants, "--store", store.path, "--device", "cpu", "-q"]
        done = cli(*made, "--out", tmp_path / args[0], "--overwrite")
        assert done.exit_code == 0, done.output
        note = place if theirs == "file" else place / "note"
        assert note.read_text() == "theirs"


@pytest.mark.parametrize("theirs", ["file", "folder", "link"])
@pytest.mark.parametrize("ending", [".tbi", ".csi"])
def test_what_is_in_the_way_of_an_index_is_told_before_anything_is_computed(
    cli: Cli, store: Store, world: World, tmp_path: Path, theirs: str, ending: str
) -> None:
    pytest.importorskip("pysam")
    out, place, other = (tmp_path / n for n in ("o.vcf.gz", f"o.vcf.gz{ending}", "other"))
    other.write_text("theirs")
    {
        "file": lambda: place.write_text("theirs"),
        "folder": place.mkdir,
        "link": lambda: place.symlink_to(other),
    }[theirs]()
    made = ["score", "vcf", world.variants, "--store", store.path, "--device", "cpu", "-q"]
    done = cli(*made, "--out", out, "--overwrite")
    assert done.exit_code == 1
    (line,) = done.stderr.splitlines()
    assert str(place) in line
    assert "seal-store" in line or "other content" in line
    assert place.is_symlink() if theirs == "link" else place.exists()
    assert other.read_text() == "theirs"
    assert not out.exists()
    plain = cli(*made, "--out", out)
    assert "exists already" in plain.stderr


def test_an_index_goes_with_the_file_that_it_was_made_for(
    cli: Cli, store: Store, world: World, tmp_path: Path
) -> None:
    pytest.importorskip("pysam")
    out = tmp_path / "o.vcf.gz"
    vcf = tmp_path / "in.vcf"
    lines = world.variants.read_text().splitlines()
    head = [line for line in lines if line.startswith("#")]
    rows = sorted(
        (line for line in lines if not line.startswith("#")),
        key=lambda line: (line.split("\t")[0], int(line.split("\t")[1])),
    )
    for body, index in ((rows, True), (rows[::-1], False)):
        vcf.write_text("\n".join([*head, *body]) + "\n")
        args = ["score", "vcf", vcf, "--store", store.path, "--device", "cpu", "-q"]
        assert cli(*args, "--out", out, "--overwrite").exit_code == 0
        assert (tmp_path / "o.vcf.gz.tbi").exists() == index


@pytest.mark.slow
def test_a_table_of_somebody_else_is_not_replaced(
    cli: Cli, store: Store, world: World, results: Path, tmp_path: Path
) -> None:
    texts = {"thesis.tsv": "Chapter 1\tIn which\n", "thesis.parquet": "PAR", "thesis.bcf": "x"}
    texts |= {"thesis.vcf": "#CHROM\n", "t.bedgraph": "chr1 is a chromosome\n", "e.tsv": "gene\t"}
    for name, text in texts.items():
        out = tmp_path / name
        out.write_text(text)
        commands: list[list[object]] = [
            ["score", "vcf", world.variants, "--store", store.path, "-q", "--device", "cpu"],
            ["export", results, "-q"],
        ]
        if name == "e.tsv":
            commands = [["expression", store.path]]
        if name == "t.bedgraph":
            commands = [["export", store.path, "--feature", store.column("feature_name")[0]]]
        for command in commands:
            done = cli(*command, "--out", out, "--overwrite")
            assert done.exit_code == 1, (name, done.output)
            assert "is not a file that seal-store made" in done.stderr
            assert out.read_text() == text
    assert cli("expression", store.path, "--out", tmp_path / "f.tsv").exit_code == 0
    assert cli("export", results, tmp_path / "f.tsv", "--overwrite", "-q").exit_code == 0


def test_a_foreign_replaced_folder_is_told_before_anything_is_computed(
    store: Store, world: World, results: Path
) -> None:
    old = replaced_path(results)
    old.mkdir()
    (old / "note").write_text("theirs")
    before = files(results)
    with pytest.raises(OutputError, match=r"\.r\.zarr\.replaced is in the way"):
        score_again(store, world.variants, results)
    assert (old / "note").read_text() == "theirs"
    assert files(results) == before
    assert sorted(p.name for p in results.parent.iterdir()) == [".r.zarr.replaced", "r.zarr"]


@pytest.mark.slow
def test_a_foreign_repair_folder_is_not_removed(copied: Path) -> None:
    folder = copied.with_name(f"{copied.name}.repair")
    folder.mkdir()
    (folder / "note").write_text("theirs")
    (copied / "expression" / "c" / "0" / "0").unlink()
    before = files(copied)
    with pytest.raises(OutputError, match="s.zarr.repair is in the way"):
        repair(copied, "cpu")
    assert files(copied) == before
    assert tree(folder) == {"note": b"theirs"}
    shutil.rmtree(folder)
    repair(copied, "cpu")
    assert verify(copied).ok


@pytest.mark.slow
def test_an_own_repair_folder_is_removed(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a repair that was killed leaves it."""
    (copied / "expression" / "c" / "0" / "0").unlink()
    folder = copied.with_name(f"{copied.name}.repair")
    process = SERVER.Process(target=partial(killed_repair, copied))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert folder.exists()
    repair(copied, "cpu")
    assert not folder.exists()
    assert verify(copied).ok


def killed_repair(path: Path) -> None:
    torch.set_num_threads(1)
    repair_module._Repair.predictions = die  # type: ignore[assignment]
    repair(path, "cpu")


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# --- replaced while it is read


def test_attributions_are_not_added_to_other_results(
    store: Store, world: World, tmp_path: Path
) -> None:
    path = tmp_path / "r.zarr"
    write_scores(Scorer(store, CPU), read_variants(world.variants), path)
    opened = Results(path)
    scorer = scorer_of(opened, store, AttributionOptions("deeplift", ("all",)), device="cpu")
    fewer = tmp_path / "fewer.vcf"
    fewer.write_text("".join(world.variants.read_text().splitlines(True)[:-3]))
    score_again(store, fewer, path)
    before = files(path)
    with pytest.raises(StoreError, match=REPLACED):
        add_attributions(opened, scorer)
    assert files(path) == before


def test_a_store_that_was_replaced_is_not_calibrated_with_what_was_read(
    copied: Path, world: World
) -> None:
    store = Store(copied)
    summary = world.heads
    again = Path(
        shutil.copytree(summary if summary.is_dir() else summary.parent, copied.parent / "h")
    )
    for path in again.rglob("*_model_summary.txt"):
        path.rename(path.with_name(f"new_{path.name}"))
    add_heads(copied, again)
    before = files(copied)
    with pytest.raises(StoreError, match=REPLACED):
        calibrate(store, world.variants, CPU)
    assert files(copied) == before
    assert not background_path(copied).exists()


def replacing(path: Path, store: Store, vcf: Path) -> Callable[[str, int, int | None], None]:
    """A listener that replaces ``path`` once."""
    done: list[int] = []

    def progress(*_: object) -> None:
        if not done:
            done.append(1)
            if path.name == "r.zarr":
                score_again(store, vcf, path, max_distance=10_000)
            else:
                seal(path)

    return progress


def seal(path: Path) -> None:
    """Give a store another manifest, as if a new one were in its place."""
    file = path / "manifest.json"
    file.write_text(json.dumps({"files": json.loads(file.read_text())["files"]}))


@pytest.mark.parametrize("name", ["o.tsv", "o.tsv.gz", "o.parquet", "o.vcf"])
def test_results_replaced_while_they_are_exported_give_no_mixed_table(
    store: Store,
    world: World,
    results: Path,
    tmp_path: Path,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("seal_store.results.group.VARIANTS_PER_CHUNK", 8)
    progress = replacing(results, store, world.variants)
    rows = Results.rows

    def slowly(self: Results, start: int = 0, stop: int | None = None) -> Any:
        found = rows(self, start, stop)
        progress()  # type: ignore[call-arg]
        return found

    opened = Results(results)
    assert len(opened) > 8
    monkeypatch.setattr(Results, "rows", slowly)
    out = tmp_path / name
    out.write_bytes(b"")
    with pytest.raises(StoreError, match=REPLACED):
        export(opened, out, overwrite=True)
    assert out.read_bytes() == b""
    assert not partial_path(out).exists()


def test_every_other_long_reader_notices(
    store: Store, world: World, copied: Path, results: Path, tmp_path: Path
) -> None:
    feature = str(store.column("feature_name")[0])

    def expression() -> None:
        opened = Store(copied)
        seal(copied)
        export_expression(opened, tmp_path / "e.tsv")

    def attributions() -> None:
        opened = Results(results)
        score_again(store, world.variants, results)
        export_attributions(opened, tmp_path / "a.tsv")

    def track() -> None:
        opened = Store(copied)
        again = replacing(copied, store, world.variants)
        write_track(profile_track(opened, feature, progress=again), tmp_path / "t.bedgraph")

    def verifying() -> None:
        verify(copied, progress=replacing(copied, store, world.variants))

    def training() -> None:
        source = open_source(store=copied)
        import numpy as np

        source.read(np.arange(len(source.genes)), replacing(copied, store, world.variants))

    for reader in (expression, attributions, track, verifying, training):
        shutil.rmtree(copied)
        shutil.copytree(store.path, copied)
        with pytest.raises(StoreError, match=REPLACED):
            reader()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["r.zarr", "s.zarr"]


# --- kill -9


def killed_while_removing(work: Callable[[], None], moved: str, at: int) -> None:
    """In a process of its own: killed at the ``at``-th removal after something got a name."""
    torch.set_num_threads(1)
    replace, unlink, rmdir, count = os.replace, os.unlink, os.rmdir, [0]
    begun: list[bool] = []

    def noting(source: Any, target: Any) -> None:
        replace(source, target)
        if Path(target).name == moved:
            begun.append(True)

    def dying(real: Callable[..., None], *args: Any, **more: Any) -> None:
        if begun:
            count[0] += 1
            if count[0] == at:
                os.kill(os.getpid(), signal.SIGKILL)
        real(*args, **more)

    os.replace = noting  # type: ignore[assignment]
    os.unlink = partial(dying, unlink)  # type: ignore[assignment]
    os.rmdir = partial(dying, rmdir)  # type: ignore[assignment]
    work()


def kill(work: Callable[[], None], moved: str, at: int) -> None:
    assert finish(partial(killed_while_removing, work, moved, at))[1] == -signal.SIGKILL


def calibrate_once(path: Path, vcf: Path, resume: bool) -> None:
    torch.set_num_threads(1)
    calibrate(Store(path), vcf, CPU, resume=resume)


@pytest.mark.slow
@pytest.mark.parametrize("at", [slow(1), 2, slow(9), pytest.param(25, marks=pytest.mark.soak)])
def test_a_calibration_killed_while_it_removes_its_background_is_done(
    copied: Path, world: World, at: int
) -> None:
    background = background_path(copied)
    work = partial(calibrate_once, copied, world.variants, False)
    kill(work, replaced_path(background).name, at)
    sha256 = Store(copied).sha256
    assert replaced_path(background).exists()
    calibrate(Store(copied), world.variants, CPU, resume=True)
    assert Store(copied).sha256 == sha256
    assert [path.name for path in copied.parent.iterdir()] == [copied.name]


def score_once(store: Path, vcf: Path, out: Path) -> None:
    torch.set_num_threads(1)
    source = VariantSource(vcf)
    write_scores(Scorer(Store(store), CPU), source.alleles(), out, form=Form(vcf=source))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("o.vcf.gz", 2),
        *(slow(name, at) for name, at in (("o.tsv", 1), ("o.tsv", 2), ("o.parquet", 1))),
        pytest.param("o.vcf.gz", 9, marks=pytest.mark.soak),
        pytest.param("o.parquet", 40, marks=pytest.mark.soak),
    ],
)
def test_a_score_killed_during_its_clean_up_is_finished(
    store: Store, world: World, tmp_path: Path, name: str, at: int
) -> None:
    pytest.importorskip("pysam")
    out = tmp_path / name
    work = partial(score_once, store.path, world.variants, out)
    kill(work, name, at)
    assert partial_path(out).exists()
    done = out.stat()
    assert is_finished(out)
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == (done.st_ino, done.st_mtime_ns)
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(name)] == []
    assert not partial_path(out).exists()


@pytest.mark.slow
@pytest.mark.parametrize("at", [slow(1), 4, slow(30)])
def test_what_a_killed_run_had_replaced_is_removed_by_the_next(
    store: Store, world: World, results: Path, at: int
) -> None:
    work = partial(score_again, store, world.variants, results)
    kill(partial(again, store.path, world.variants, results), replaced_path(results).name, at)
    assert replaced_path(results).exists()
    assert len(Results(results))
    found = verify(results, contents=False)
    assert found.ok
    assert "killed run" in found.skipped[".r.zarr.replaced"]
    work()
    assert [path.name for path in results.parent.iterdir()] == [results.name]


def again(store: Path, vcf: Path, out: Path) -> None:
    score_again(Store(store), vcf, out)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["o.zarr", pytest.param("o.tsv", marks=pytest.mark.soak)])
def test_killed_before_the_first_checkpoint_the_bytes_are_the_same(
    store: Store, world: World, tmp_path: Path, name: str
) -> None:
    """Through the command line: what is recorded of what was typed is that of one run."""
    program = "import sys; from seal_store.cli import main; main()"
    args = ["score", "vcf", world.variants, "--store", store.path, "--device", "cpu", "--out", name]

    def run(folder: Path, *more: str, dying: str = "") -> int:
        folder.mkdir(exist_ok=True)
        code = [sys.executable, "-c", dying + program, *map(str, args), *more]
        return subprocess.run(code, cwd=folder, stdout=subprocess.DEVNULL, check=False).returncode

    dying = (
        "import os\n"
        "from seal_store.scoring.scorer import Scorer\n"
        "Scorer.score = lambda *_, **__: os.kill(os.getpid(), 9)\n"
    )
    assert run(tmp_path / "killed", dying=dying) == -signal.SIGKILL
    assert partial_path(tmp_path / "killed" / name).exists()
    assert run(tmp_path / "killed", "--resume", "-q") == 0
    assert run(tmp_path / "whole") == 0
    assert files(tmp_path / "killed" / name) == files(tmp_path / "whole" / name)
    assert sorted(p.name for p in (tmp_path / "killed").iterdir()) == [name]


def test_a_finished_run_is_not_begun_again_after_an_interrupt_while_it_is_discarded(
    store: Store, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A whole group that is being thrown away is never taken for a whole one."""
    out = tmp_path / "o.zarr"
    scored(store, world.variants, out)
    out.rename(partial_path(out))
    unlink, count = os.unlink, [0]

    def dying(*args: Any, **more: Any) -> None:
        count[0] += 1
        if count[0] > 5:
            raise KeyboardInterrupt
        unlink(*args, **more)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(os, "unlink", dying)
        output.remove(partial_path(out))
    assert not is_finished(out)
    assert not out.exists()

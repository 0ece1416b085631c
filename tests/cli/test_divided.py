"""`score vcf --plan`, `--slice`, `--finalize`, `status`, `merge` and `--workers` as commands."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from interrupted import files

from seal_store.common.beside import partial_path
from seal_store.scoring import reading
from seal_store.store.store import Store
from seal_store.synthetic import World

Cli = Callable[..., Result]


@pytest.fixture
def run(
    cli: Cli, store: Store, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    """`score vcf` of one and the same command; what it says with --json."""
    monkeypatch.setattr(reading, "ALLELES_PER_CHUNK", 4)
    monkeypatch.chdir(tmp_path)

    def score(*more: object, fails: str = "", out: str = "out.zarr") -> Any:
        fixed = ["--store", store.path, "--device", "cpu", "--batch", 1, "--out", out]
        done = cli("score", "vcf", world.variants, *fixed, *more, "--json", "-q")
        if fails:
            assert done.exit_code == 1
            assert fails in done.stderr
            return None
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    return score


@pytest.mark.slow
def test_array_tasks_in_any_order_end_as_one_command(
    run: Callable[..., Any], cli: Cli, tmp_path: Path
) -> None:
    out = tmp_path / "out.zarr"
    planned = run("--plan", "--slices", 8)
    count = planned["slices"]
    assert 2 < count <= 8
    order = random.Random(4).sample(range(count), count)
    for index in (*order[1:], *order[1:3]):
        assert run("--slice", index)["slices"] == [index]
    run("--finalize", fails=f"slice {order[0]} of {count} is not done; run it with --slice")
    said = json.loads(cli("status", out, "--json").stdout)
    assert (said["done"], said["waiting"], said["total"]) == (count - 1, 1, count)
    assert said["seconds_left"] > 0
    assert said["per_hour"] > 0
    shown = cli("status", out).stdout
    assert f"{count - 1} of {count} slices done, 0 running, 1 waiting, 0 failed" in shown
    run("--slice", order[0])
    assert "all done" in cli("status", out).stdout
    finished = run("--finalize")
    assert "is finished" in cli("status", out).stdout
    divided = files(out)
    one = run("--overwrite")
    assert files(out) == divided
    assert one == finished
    assert not partial_path(out).exists()


@pytest.mark.slow
def test_workers_change_nothing_and_a_plan_is_gone_on_with(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    one = run()
    whole = files(tmp_path / "out.zarr")
    assert run("--workers", 2, "--overwrite") == one
    assert files(tmp_path / "out.zarr") == whole
    run("--plan", "--overwrite", "--slices", 5)
    run("--slice", 1, "--slice", 3)
    assert run("--overwrite", "--resume") == one
    assert files(tmp_path / "out.zarr") == whole
    run("--plan", "--overwrite", "--slices", 5)
    run("--slice", 1)
    assert run("--resume") == one  # as it was begun, which was allowed to replace
    assert files(tmp_path / "out.zarr") == whole


def test_options_without_an_effect_on_a_step(
    run: Callable[..., Any], cli: Cli, store: Store, world: World
) -> None:
    fixed = ["score", "vcf", world.variants, "--store", store.path, "--out", "o.zarr"]
    for more, said in (
        (["--plan", "--finalize"], "--plan, --slice and --finalize exclude each other"),
        (["--plan", "--workers", 2], "--workers has no effect with --plan"),
        (["--slice", 1, "--resume"], "--resume has no effect with --slice"),
        (["--slices", 3], "--slices has no effect without --plan"),
        (["--workers", 2, "--verbose"], "--verbose has no effect where the work is divided"),
    ):
        done = cli(*fixed, *more)
        assert done.exit_code == 2
        assert said in done.stderr
    done = cli(*fixed[:-1], "-", "--workers", 2)
    assert "--workers has no effect with --out -" in done.stderr


def test_merge_and_status_as_commands(run: Callable[..., Any], cli: Cli, tmp_path: Path) -> None:
    parts = [f"{contig}.zarr" for contig in ("chr1", "chr2")]
    rows = sum(run("--region", Path(out).stem, out=out)["rows"] for out in parts)
    done = cli("merge", *parts, "--out", "both.tsv", "--json", "-q")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["rows"] == rows
    assert len((tmp_path / "both.tsv").read_text().splitlines()) == rows + 1
    text = cli("merge", *parts, "--out", "both.zarr").stdout
    assert f"both.zarr: {rows} rows of 2 results" in text
    twice = cli("merge", *parts, parts[0], "--out", "more.zarr")
    assert twice.exit_code == 1
    assert "have the same results; name them only once" in twice.stderr
    missing = cli("status", "nowhere.zarr")
    assert missing.exit_code == 1
    assert "nowhere.zarr: nothing there" in missing.stderr

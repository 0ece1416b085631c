"""The commands: options, outputs, and bad input in one line."""

from __future__ import annotations

import gzip
import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import Result
from hostile import bgzf_of

from seal_store.building import build as library
from seal_store.building.options import BuildOptions
from seal_store.cli import COMMANDS
from seal_store.common import output
from seal_store.common.beside import partial_path
from seal_store.common.output import JOURNAL
from seal_store.exporting.tsv import TsvWriter
from seal_store.model.config import CnnConfig
from seal_store.results.group import Results
from seal_store.results.view import TSV_COLUMNS
from seal_store.store import manifest
from seal_store.store.layout import RESULTS, VARIANTS_PER_CHUNK
from seal_store.store.store import Store
from seal_store.synthetic import World, random_bases, random_weights, write_fasta, write_head_set

ROOT = Path(__file__).resolve().parents[2]
CONFIG = CnnConfig(channels=(4,) * 6, hidden=8, features=3)
INPUTS = 30
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}
CONTEXTS = {"alpha": ("a1", "a2", "both"), "beta": ("b1", "both")}

Cli = Callable[..., Result]


@dataclass(frozen=True)
class Small:
    """Two genes, two head sets, a CNN of four channels, and their store."""

    genome: Path
    genes: Path
    cnn: Path
    heads: Path
    vcf: Path
    profiles: Path
    store: Path

    def build(self, out: Path, *more: object, **instead: Path) -> list[object]:
        """Arguments of a quiet `build` on CPU, some inputs replaced."""
        names = ("genome", "genes", "cnn", "heads")
        given = {name: instead.get(name, getattr(self, name)) for name in names}
        flags = [item for name, path in given.items() for item in (f"--{name}", path)]
        return ["build", *flags, "--out", out, "--device", "cpu", "-q", *more]

    def score(self, out: Path, *more: object, vcf: object = None, store: object = None) -> list:
        """Arguments of a quiet `score vcf` on CPU."""
        args = ["score", "vcf", vcf or self.vcf, "--store", store or self.store, "--out", out]
        return [*args, "--device", "cpu", "-q", *more]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors here are too small to share out."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("small")
    contigs = {"chr1": random_bases(60_000, 1), "chr2": random_bases(50_000, 2)}
    write_fasta(folder / "genome.fa", contigs)
    (folder / "genes.bed").write_text("chr1\t29999\t30000\t+\tG1\nchr2\t24999\t25000\t-\tG2\n")
    torch.save(random_weights(CONFIG, 1), folder / "cnn.pth")
    for seed, (name, contexts) in enumerate(CONTEXTS.items()):
        write_head_set(folder / "heads", name, contexts, INPUTS, 5, seed)
    (folder / "profiles").mkdir()
    for seed, gene in enumerate(("G1", "G2")):
        profile = np.random.default_rng(seed).random((200, 3), np.float32)
        np.save(folder / "profiles" / f"{gene}.npy", profile)
    rows = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT"]
    for contig, pos, alt in [
        ("chr1", 29_000, None),
        ("chr1", 30_100, "TTT"),
        ("chr1", 55_000, None),
        ("chr2", 25_000, None),
        ("2", 25_300, None),
        ("chr2", 26_000, "<DEL>"),
    ]:
        ref = chr(contigs[f"chr{contig[-1]}"][pos - 1])
        rows.append(f"{contig}\t{pos}\t-\t{ref}\t{alt or 'ACGT'[('ACGT'.index(ref) + 1) % 4]}")
    (folder / "in.vcf").write_text("\n".join(rows) + "\n")
    names = ("genome.fa", "genes.bed", "cnn.pth", "heads", "in.vcf", "profiles", "store.zarr")
    paths = Small(*(folder / name for name in names))
    options = BuildOptions(
        paths.genome, paths.genes, paths.cnn, (paths.heads,), paths.store, command="tests"
    )
    library.build(options, "cpu")
    return paths


@pytest.fixture
def copied(small: Small, tmp_path: Path) -> Path:
    """A copy of the store that a test may change."""
    return Path(shutil.copytree(small.store, tmp_path / "copied.zarr"))


@pytest.fixture
def one_gene_a_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    one = partial(BuildOptions, genes_per_shard=1)
    monkeypatch.setattr("seal_store.building.options.BuildOptions", one)


def succeeded(result: Result) -> str:
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.stdout


def refused(result: Result, *says: str, code: int = 1) -> None:
    """One line on stderr that says these things; no traceback, nothing on stdout."""
    assert isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == code
    (line,) = result.stderr.splitlines()
    assert line.startswith("seal-store: error: ")
    for part in says:
        assert part in line
    assert result.stdout == ""


def table(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()]


def listed(path: Path) -> dict[str, Any]:
    """The manifest, without the one file that holds the command line."""
    files = json.loads((path / "manifest.json").read_text())["files"]
    return {name: entry for name, entry in files.items() if name != "zarr.json"}


def attributes(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "zarr.json").read_text())["attributes"]["seal_store"]
    return {key: value for key, value in found.items() if key != "command"}


def half(path: Path, to: Path) -> Path:
    content = path.read_bytes()
    to.write_bytes(content[: len(content) // 2])
    return to


def linked(path: Path, folder: Path) -> Path:
    """Another name of a file, which tells it from one written in its place."""
    os.link(path, folder / "kept")
    return folder / "kept"


# --- help and start-up


def test_help_lists_every_command(cli: Cli) -> None:
    text = succeeded(cli("--help"))
    assert all(f"\n  {name} " in text for name in COMMANDS)


@pytest.mark.parametrize(
    "command", [*COMMANDS, "score vcf", "score variant", "heads add", "heads list"], ids=lambda c: c
)
def test_every_command_has_help(cli: Cli, command: str) -> None:
    assert succeeded(cli(*command.split(), "--help")).startswith(f"Usage: seal-store {command} ")


def test_version(cli: Cli) -> None:
    assert "0." in succeeded(cli("--version"))


def test_help_answers_at_once() -> None:
    """In seconds of the processor: those of the clock are longer where others work too."""
    seconds = []
    for _ in range(3):
        before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        run = subprocess.run(
            [Path(sys.executable).with_name("seal-store"), "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        seconds.append(sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before)
        assert "Usage: seal-store" in run.stdout
    assert min(seconds) < 0.4


@pytest.mark.parametrize(
    "command",
    [
        "",
        "build",
        "score vcf",
        "score variant",
        "heads add",
        "train pretrain",
        "train evaluate",
        "inspect",
    ],
)
def test_help_loads_nothing_heavy(command: str) -> None:
    program = (
        "import sys; from seal_store.cli import main; "
        f"main({[*command.split(), '--help']!r}, standalone_mode=False); "
        "print(sorted({'torch', 'zarr', 'pandas', 'numpy', 'sklearn'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (run.stdout.splitlines()[-1], run.stderr) == ("[]", "")


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["build"],
        ["build", "--out", "x"],
        ["build", "--out", "x", "--plan", "--finalize"],
        ["build", "--out", "x", "--shard", "0", "--finalize"],
        ["build", "--out", "x", "--keep-bits", "24"],
        ["score", "vcf", "x.vcf", "--out", "x.tsv"],
        ["score", "vcf", "x.vcf", "--store", "s", "--out", "x.tsv", "--scheme", "other"],
        ["score", "vcf", "x.vcf", "--store", "s", "--out", "x.tsv", "--precision", "0"],
        ["export", "x.zarr"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_with_2(
    cli: Cli, args: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = cli(*args)
    assert isinstance(result.exception, SystemExit)
    assert result.exit_code == 2
    assert "Error: " in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


# --- build: bad input


def other_heads(folder: Path) -> Path:
    return write_head_set(folder, "other", ("x",), INPUTS + 10, 4, 5)


def truncated_heads(folder: Path) -> Path:
    summary = write_head_set(folder, "cut", ("x",), INPUTS, 4, 5)
    model = next(summary.parent.glob("*.pt"))
    half(model, model)
    return summary


def genes(folder: Path, text: str) -> Path:
    (folder / "table.bed").write_text(text)
    return folder / "table.bed"


def profile(folder: Path, shape: tuple[int, ...]) -> Path:
    np.save(folder / "G1.npy", np.zeros(shape, np.float32))
    return folder


@pytest.mark.parametrize(
    ("instead", "says"),
    [
        (lambda s, t: {"genome": t / "nowhere.fa"}, "FASTA not found"),
        (lambda s, t: {"genome": s.genes}, "FASTA"),
        (lambda s, t: {"genes": t / "nowhere.bed"}, "gene table not found"),
        (lambda s, t: {"genes": genes(t, "chr1\t7\tx\t+\tG\n")}, "table.bed:1: 'x'"),
        (lambda s, t: {"genes": genes(t, "chr9\t7\t8\t+\tG\n")}, "1 contig_not_in_fasta"),
        (lambda s, t: {"cnn": t / "nowhere.pth"}, "weights file not found"),
        (lambda s, t: {"cnn": half(s.cnn, t / "cut.pth")}, "cut.pth: not a readable"),
        (lambda s, t: {"cnn": next(s.heads.rglob("*.pt"))}, "tensor model.0.0 is missing"),
        (lambda s, t: {"heads": t / "nowhere"}, "not found"),
        (lambda s, t: {"heads": other_heads(t)}, "takes 40 inputs, this CNN gives 30"),
        (lambda s, t: {"heads": truncated_heads(t)}, "cut_seal_ft_model.pt: not a readable"),
    ],
    ids=[
        "missing FASTA",
        "no FASTA",
        "missing gene table",
        "malformed gene table",
        "no contig in the FASTA",
        "missing weights",
        "truncated weights",
        "weights of something else",
        "missing heads",
        "heads of another size",
        "truncated heads",
    ],
)
def test_build_refuses_an_input(
    cli: Cli,
    small: Small,
    tmp_path: Path,
    instead: Callable[[Small, Path], dict[str, Path]],
    says: str,
) -> None:
    out = tmp_path / "out.zarr"
    result = cli(*small.build(out, **instead(small, tmp_path)))
    refused(result, says.replace("model.0.0 ", "model.0.0.weight "))
    assert not out.exists()
    assert not partial_path(out).exists()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--gene", "G3"], "'G3' is not in the gene table"),
        (["--near-vcf", "nowhere.vcf"], "variant file not found"),
        (["--from-profiles", "nowhere"], "profile folder not found"),
        (["--first-offset", "-30000"], "--first-offset"),
        (["--device", "quantum"], "unknown device 'quantum'"),
        (["--device", "mps"], "unknown device 'mps'"),
        (["--device", "cuda:99"], "'cuda:99' is not available"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_build_refuses_an_option(
    cli: Cli, small: Small, tmp_path: Path, more: list[str], says: str
) -> None:
    out = tmp_path / "out.zarr"
    refused(cli(*small.build(out), *more), says)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", [["--shard", "0"], ["--finalize"]], ids=" ".join)
def test_a_step_needs_a_plan(cli: Cli, tmp_path: Path, step: list[str]) -> None:
    refused(cli("build", "--out", tmp_path / "out.zarr", *step), "no planned store")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(199, 3), (200, 4), (3, 200), (600,)])
def test_build_refuses_a_profile_of_another_shape(
    cli: Cli, small: Small, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    table = genes(tmp_path, "chr1\t29999\t30000\t+\tG1\n")
    folder = profile(tmp_path, shape)
    out = tmp_path / "out.zarr"
    result = cli(*small.build(out, "--from-profiles", folder, genes=table))
    refused(result, "G1.npy", str(shape), "(200, 3)")
    assert not out.exists()
    refused(cli("inspect", out), "unfinished store")


def test_a_contig_that_the_fasta_lacks_is_listed_skipped_and_counted(
    cli: Cli, small: Small, tmp_path: Path
) -> None:
    text = small.genes.read_text() + "chr9\t99\t100\t+\tG3\nchr9\t199\t200\t-\tG4\n"
    out = tmp_path / "out.zarr"
    args = small.build(
        out, "--from-profiles", small.profiles, "--json", genes=genes(tmp_path, text)
    )
    result = cli(*args)
    facts = json.loads(succeeded(result))
    assert facts["genes"] == 2
    assert facts["gene_table"] == {"computed": 2, "contig_not_in_fasta": 2}
    assert "chr9 is not in the FASTA: 2 genes skipped" in result.stderr
    assert Store(out).table_status.tolist() == ["computed"] * 2 + ["contig_not_in_fasta"] * 2
    args = small.score(tmp_path / "x.tsv", "--json", vcf="-", store=out)
    counts = json.loads(succeeded(cli(*args, stdin=b"chr9\t150\t-\tA\tC\n")))
    assert counts["not_scored"] == {"gene_not_computed": 1}


def test_genes_without_a_profile_are_listed_skipped_and_counted(
    cli: Cli, small: Small, tmp_path: Path
) -> None:
    shutil.copy(small.profiles / "G2.npy", tmp_path)
    out = tmp_path / "out.zarr"
    result = cli(*small.build(out, "--from-profiles", tmp_path, "--json"))
    assert json.loads(succeeded(result))["gene_table"] == {"computed": 1, "no_profile": 1}
    assert "no profile for G1" in result.stderr
    assert Store(out).gene_id.tolist() == ["G2"]


def test_building_without_heads_is_refused_or_gives_a_store_that_opens(
    cli: Cli, small: Small, tmp_path: Path
) -> None:
    out = tmp_path / "out.zarr"
    args = small.build(out, "--from-profiles", small.profiles)
    at = args.index("--heads")
    result = cli(*args[:at], *args[at + 2 :])
    assert out.exists() == (result.exit_code == 0)
    if out.exists():
        assert succeeded(cli("heads", "list", out, "--contexts")) == ""
        succeeded(cli("heads", "add", out, small.heads))
        assert Store(out).head_sets == ["alpha", "beta"]


# --- existing and unfinished outputs


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_existing_output_is_left_alone(
    cli: Cli, small: Small, tmp_path: Path, kind: str
) -> None:
    for name in ("out.zarr", "out.tsv"):
        path = tmp_path / name
        if kind == "folder":
            path.mkdir()
            path /= "precious"
        path.write_text("precious")
    scores = tmp_path / "scores.zarr"
    succeeded(cli(*small.score(scores)))
    for result in (
        cli(*small.build(tmp_path / "out.zarr")),
        cli(*small.build(tmp_path / "out.zarr", "--plan")),
        cli(*small.score(tmp_path / "out.zarr")),
        cli(*small.score(tmp_path / "out.tsv")),
        cli("export", scores, tmp_path / "out.tsv"),
    ):
        refused(result, "exists already", "--overwrite")
    for name in ("out.zarr", "out.tsv"):
        path = tmp_path / name
        assert (path / "precious" if kind == "folder" else path).read_text() == "precious"
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize("name", ["out.tsv", "out.zarr"])
def test_overwrite_replaces_an_output_by_a_whole_one(
    cli: Cli, small: Small, tmp_path: Path, name: str
) -> None:
    succeeded(cli(*small.score(tmp_path / name, "--heads", "beta")))
    succeeded(cli(*small.score(tmp_path / name, "--heads", "alpha", "--overwrite")))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    if name.endswith("tsv"):
        assert table(tmp_path / name)[0][13:] == ["a1", "a2", "both"]
    else:
        assert Results(tmp_path / name).contexts()[0] == ["a1", "a2", "both"]


def test_a_failing_overwrite_keeps_what_was_there(cli: Cli, small: Small, tmp_path: Path) -> None:
    out = tmp_path / "out.tsv"
    succeeded(cli(*small.score(out)))
    before = out.read_bytes()
    refused(cli(*small.score(out, "--overwrite", vcf=tmp_path / "nowhere.vcf")), "not found")
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out.tsv"]


@pytest.mark.parametrize("state", ["planned", "planned, by its own name", "no manifest"])
def test_an_unfinished_store_is_refused_by_every_command(
    cli: Cli, small: Small, copied: Path, tmp_path: Path, state: str
) -> None:
    store = tmp_path / "out.zarr"
    if state == "no manifest":
        (copied / "manifest.json").unlink()
        store = copied
    else:
        succeeded(cli(*small.build(store, "--plan")))
        if state == "planned, by its own name":
            store = partial_path(store)
    for result in (
        cli(*small.score(tmp_path / "x.tsv", store=store)),
        cli("inspect", store),
        cli("heads", "list", store),
        cli("heads", "add", store, small.heads),
    ):
        refused(result, "unfinished store", "--resume")
    assert not (tmp_path / "x.tsv").exists()


def test_what_an_unfinished_run_left_is_not_used_or_lost_unasked(
    cli: Cli, small: Small, tmp_path: Path
) -> None:
    out = tmp_path / "out.zarr"
    left = partial_path(out)
    left.mkdir()
    refused(cli(*small.score(out)), "did not finish", "--overwrite")
    refused(cli("export", out, tmp_path / "x.tsv"), "unfinished results")
    assert left.exists()
    succeeded(cli(*small.score(out, "--overwrite")))
    assert [path.name for path in tmp_path.iterdir()] == ["out.zarr"]


@pytest.mark.parametrize("version", [2, 10])
def test_a_store_of_a_newer_format_is_refused(
    cli: Cli, small: Small, copied: Path, tmp_path: Path, version: int
) -> None:
    metadata = copied / "zarr.json"
    text = metadata.read_text()
    assert '"format_version": 1' in text
    metadata.write_text(text.replace('"format_version": 1', f'"format_version": {version}'))
    files = json.loads((copied / "manifest.json").read_text())
    files["files"]["zarr.json"] = manifest.entry(metadata)
    manifest.write(copied, files["files"])
    for result in (
        cli(*small.score(tmp_path / "x.tsv", store=copied)),
        cli("inspect", copied),
        cli("heads", "list", copied),
        cli("heads", "add", copied, small.heads),
    ):
        refused(result, f"format version {version}", "reads 1", "upgrade")
    assert not (tmp_path / "x.tsv").exists()


def test_a_damaged_store_is_refused(cli: Cli, small: Small, copied: Path, tmp_path: Path) -> None:
    shard = copied / "features/c/0/0/0"
    half(shard, shard)
    refused(cli(*small.score(tmp_path / "x.tsv", store=copied)), "features/c/0/0/0", "damaged")
    shard.unlink()
    refused(cli(*small.score(tmp_path / "x.tsv", store=copied)), "features/c/0/0/0 is missing")
    assert not (tmp_path / "x.tsv").exists()


# --- score: bad input


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--device", "quantum"], "unknown device 'quantum'"),
        (["--heads", "gamma"], "no head set 'gamma'; it has alpha, beta"),
        (["--contexts", "a9"], "no context 'a9'"),
        (["--contexts", "beta:a1"], "no context 'beta:a1'"),
        (["--contexts", "a1", "--heads", "beta"], "no context 'a1'"),
        (["--max-distance", "20001"], "--max-distance 20001"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_score_refuses_an_option(
    cli: Cli, small: Small, tmp_path: Path, more: list[str], says: str
) -> None:
    refused(cli(*small.score(tmp_path / "x.tsv"), *more), says)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x80", b"", b"\n\n"])
def test_a_contexts_file_without_names_is_refused(
    cli: Cli, small: Small, tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "contexts.txt").write_bytes(content)
    out = tmp_path / "x.tsv"
    refused(cli(*small.score(out, "--contexts", tmp_path / "contexts.txt")), "contexts.txt")
    assert not out.exists()


@pytest.mark.parametrize("out", ["x.zarr", "x.tsv"])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "not found"),
        (gzip.compress(b"chr1\t30000\t-\tA\tC\n" * 50, mtime=0)[:-10], "damaged"),
        (b"chr1\t30000\t-\tA\tC\n\0\n", "in.vcf:2: NUL"),
        (b"BCF\2\2rest", "in.vcf: BCF cannot be read after record 0"),
    ],
    ids=["missing", "truncated", "binary", "BCF"],
)
def test_score_refuses_a_variant_file(
    cli: Cli, small: Small, tmp_path: Path, content: bytes | None, says: str, out: str
) -> None:
    vcf = tmp_path / "in.vcf"
    if content is not None:
        vcf.write_bytes(content)
    refused(cli(*small.score(tmp_path / out, vcf=vcf)), says)
    assert [path.name for path in tmp_path.iterdir()] == ["in.vcf"] * (content is not None)


@pytest.mark.parametrize("out", ["x", "x.csv", "x.vcf.bz2"])
def test_an_unknown_kind_of_output_is_refused(
    cli: Cli, small: Small, tmp_path: Path, out: str
) -> None:
    refused(cli(*small.score(tmp_path / out)), "unknown kind of output", "name it .zarr or .tsv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("store", ["nowhere", ".", "plain file", "results.zarr"])
def test_something_else_than_a_store_is_refused(
    cli: Cli, small: Small, tmp_path: Path, store: str
) -> None:
    (tmp_path / "plain file").write_text("text")
    if store == "results.zarr":
        succeeded(cli(*small.score(tmp_path / store)))
    for result in (
        cli(*small.score(tmp_path / "x.tsv", store=tmp_path / store)),
        cli("heads", "list", tmp_path / store),
    ):
        refused(result, str(tmp_path / store))
    assert not (tmp_path / "x.tsv").exists()


def test_a_store_is_no_results(cli: Cli, small: Small, tmp_path: Path) -> None:
    refused(cli("export", small.store, tmp_path / "x.tsv"), str(small.store))
    refused(cli("export", tmp_path / "nowhere", tmp_path / "x.tsv"), "not found")
    assert list(tmp_path.iterdir()) == []


def test_an_output_below_a_file_is_refused(cli: Cli, small: Small, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    refused(cli(*small.score(tmp_path / "file/x.tsv")), str(tmp_path / "file"))
    refused(cli(*small.build(tmp_path / "file/x.zarr")), str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "text"


def test_ref_mismatch_error_names_the_line_and_leaves_nothing(
    cli: Cli, small: Small, tmp_path: Path
) -> None:
    vcf = tmp_path / "in.vcf"
    lines = [f"chr1\t30000\t-\t{ref}\t{alt}" for ref, alt in ("AC", "CA", "GA", "TA")]
    vcf.write_text("\n".join(lines) + "\n")
    out = tmp_path / "x.zarr"
    refused(cli(*small.score(out, "--ref-mismatch", "error", vcf=vcf)), f"{vcf}: line ", "REF")
    assert [path.name for path in tmp_path.iterdir()] == ["in.vcf"]
    facts = json.loads(
        succeeded(cli(*small.score(out, "--ref-mismatch", "skip", "--json", vcf=vcf)))
    )
    assert (facts["rows"], facts["not_scored"]) == (1, {"alt_is_reference": 3})


@pytest.mark.parametrize("out", ["x.zarr", "x.tsv"])
def test_ctrl_c_leaves_nothing(
    cli: Cli, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("seal_store.scoring.engine.Engine.launched", interrupt)
    refused(cli(*small.score(tmp_path / out)), "interrupted", code=130)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line_and_leaves_nothing(
    cli: Cli, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TsvWriter, "write", full)
    refused(cli(*small.score(tmp_path / "x.tsv")), "No space left on device")
    assert list(tmp_path.iterdir()) == []


# --- score: what it writes


@pytest.fixture(scope="module")
def tsv(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scores of the small world, by the command as a user runs it, from stdin."""
    out = tmp_path_factory.mktemp("tsv") / "direct.tsv"
    run = subprocess.run(
        [Path(sys.executable).with_name("seal-store"), *map(str, small.score(out, vcf="-"))],
        input=small.vcf.read_bytes(),
        capture_output=True,
        env=ONE_THREAD,
    )
    assert (run.returncode, run.stderr) == (0, b"")
    return out


def test_a_tsv_has_seals_columns_and_all_contexts(tsv: Path) -> None:
    header, *rows = table(tsv)
    assert tuple(header[:8]) == TSV_COLUMNS
    assert header[13:] == ["a1", "a2", "alpha:both", "b1", "beta:both"]
    assert [(r[0], r[1], r[4], r[5], r[6], r[7]) for r in rows] == [
        ("chr1", "29000", "+", "G1", "-1000", "True"),
        ("chr1", "30100", "+", "G1", "100", "True"),
        ("chr2", "25000", "-", "G2", "0", "True"),
        ("chr2", "25300", "-", "G2", "300", "True"),
    ]
    assert all(float(value) != 0 for row in rows for value in row[13:])


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["text", "gzip"])
def test_stdin_gives_what_the_file_gives(
    cli: Cli, small: Small, tsv: Path, tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    succeeded(cli(*small.score(tmp_path / "file.tsv")))
    content = pack(small.vcf.read_bytes())
    succeeded(cli(*small.score(tmp_path / "stdin.tsv", vcf="-"), stdin=content))
    assert (tmp_path / "file.tsv").read_bytes() == (tmp_path / "stdin.tsv").read_bytes()
    assert [row[:8] for row in table(tmp_path / "file.tsv")] == [row[:8] for row in table(tsv)]


def test_truncated_bgzf_on_stdin_is_refused(cli: Cli, small: Small, tmp_path: Path) -> None:
    content = bgzf_of(small.vcf.read_bytes(), end=b"")
    refused(cli(*small.score(tmp_path / "x.tsv", vcf="-"), stdin=content), "stdin", "truncated")
    assert list(tmp_path.iterdir()) == []


def test_results_are_files_of_many_rows(cli: Cli, small: Small, tmp_path: Path) -> None:
    out = tmp_path / "r.zarr"
    succeeded(cli(*small.score(out)))
    for entry in RESULTS:
        if "variant" in entry.dims:
            array = Results(out).group[entry.name]
            assert (array.shape[0], array.chunks[0]) == (4, VARIANTS_PER_CHUNK)
            chunks = [path for path in (out / entry.name / "c").rglob("*") if path.is_file()]
            assert len(chunks) == 1


def test_an_input_without_a_scorable_allele_gives_an_empty_table(
    cli: Cli, small: Small, tmp_path: Path
) -> None:
    vcf = tmp_path / "in.vcf"
    vcf.write_text("chr1\t5\t-\tA\tC\n")
    for name in ("r.zarr", "x.tsv"):
        facts = json.loads(succeeded(cli(*small.score(tmp_path / name, "--json", vcf=vcf))))
        assert (facts["rows"], facts["not_scored"]) == (0, {"no_gene_in_range": 1})
    succeeded(cli("export", tmp_path / "r.zarr", tmp_path / "y.tsv"))
    assert len(table(tmp_path / "x.tsv")) == 1
    assert (tmp_path / "x.tsv").read_bytes() == (tmp_path / "y.tsv").read_bytes()


@pytest.mark.parametrize("precision", [6, 3])
def test_export_gives_the_tsv_that_score_writes(
    cli: Cli, small: Small, tmp_path: Path, precision: int
) -> None:
    digits = ["--precision", precision]
    succeeded(cli(*small.score(tmp_path / "r.zarr")))
    succeeded(cli("export", tmp_path / "r.zarr", tmp_path / "exported.tsv", *digits))
    succeeded(cli(*small.score(tmp_path / "direct.tsv", *digits)))
    exported = (tmp_path / "exported.tsv").read_bytes()
    assert exported == (tmp_path / "direct.tsv").read_bytes()
    value = table(tmp_path / "exported.tsv")[1][13]
    assert value == f"{Results(tmp_path / 'r.zarr').rows().effect[0, 0]:.{precision}g}"


def test_every_allele_is_a_row_or_has_a_reason(cli: Cli, small: Small, tmp_path: Path) -> None:
    out = tmp_path / "r.zarr"
    facts = json.loads(succeeded(cli(*small.score(out, "--json"))))
    assert facts["rows"] == facts["alleles_scored"] == 4
    assert facts["alleles"] == 6
    assert facts["not_scored"] == {"no_gene_in_range": 1, "symbolic": 1}
    assert facts["examples"]["symbolic"][0].startswith("line 8, chr2:26000")
    kept = Results(out).attributes.counts.to_dict()
    assert kept == {key: facts[key] for key in kept}
    text = succeeded(cli(*small.score(out, "--overwrite")))
    assert "alleles in: 6, scored: 4, not scored: 2" in text
    assert "symbolic: 1" in text


@pytest.mark.parametrize(
    ("more", "header"),
    [
        (["--heads", "beta"], ["b1", "both"]),
        (["--heads", "beta", "--heads", "alpha"], ["a1", "a2", "alpha:both", "b1", "beta:both"]),
        (["--contexts", "a2"], ["a2"]),
        (["--contexts", "both"], ["alpha:both", "beta:both"]),
        (["--contexts", "beta:both", "--contexts", "a1"], ["a1", "both"]),
        (["--contexts", "{file}"], ["a2", "b1"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_chosen_contexts_are_columns_of_all(
    cli: Cli, small: Small, tsv: Path, tmp_path: Path, more: list[str], header: list[str]
) -> None:
    (tmp_path / "names.txt").write_text("b1\r\n\n a2 \n")
    out = tmp_path / "x.tsv"
    args = [item.replace("{file}", str(tmp_path / "names.txt")) for item in more]
    succeeded(cli(*small.score(out, *args)))
    found = table(out)
    assert found[0][13:] == header
    whole = table(tsv)
    labels = [label if label in whole[0] else None for label in header]
    for row, expected in zip(found[1:], whole[1:], strict=True):
        for label, value in zip(labels, row[13:], strict=True):
            if label:
                assert float(value) == pytest.approx(
                    float(expected[whole[0].index(label)]), abs=1e-6
                )


# --- JSON, inspect, heads


def test_json_summaries_parse(cli: Cli, small: Small, tmp_path: Path) -> None:
    out, scores = tmp_path / "out.zarr", tmp_path / "scores.zarr"
    imported = ["--from-profiles", small.profiles, "--json"]
    planned = json.loads(succeeded(cli(*small.build(out, "--plan", *imported))))
    assert planned == {"out": str(out), "genes": 2, "shards": 1, "odd_lines": {}}
    shard = json.loads(succeeded(cli("build", "--out", out, "--shard", 0, "-q", *imported)))
    assert shard == {"out": str(out), "shards": [0]}
    built = json.loads(succeeded(cli("build", "--out", out, "--finalize", "--json", "-q")))
    assert built["sha256"] == Store(out).sha256
    assert (built["genes"], built["contexts"]) == (2, 5)
    scored = json.loads(succeeded(cli(*small.score(scores, "--json"))))
    assert (scored["out"], scored["scheme"]) == (str(scores), "grid")
    exported = json.loads(succeeded(cli("export", scores, tmp_path / "x.tsv", "--json")))
    assert exported == {"out": str(tmp_path / "x.tsv"), "rows": 4}
    heads = json.loads(succeeded(cli("heads", "list", small.store, "--contexts", "--json")))
    assert {h["name"]: tuple(h["context_names"]) for h in heads} == CONTEXTS


def test_inspect_says_what_a_store_holds(cli: Cli, small: Small) -> None:
    facts = json.loads(succeeded(cli("inspect", small.store, "--json")))
    assert (facts["kind"], facts["format_version"], facts["genes"]) == ("store", 1, 2)
    assert facts["sha256"] == Store(small.store).sha256
    assert [(h["name"], h["contexts"]) for h in facts["heads"]] == [("alpha", 3), ("beta", 2)]
    arrays = {entry["name"]: entry for entry in facts["arrays"]}
    assert arrays["features"]["shape"] == [2, 200, 3]
    features = arrays["features"]
    on_disk = sum(f.stat().st_size for f in (small.store / "features").rglob("*") if f.is_file())
    assert (features["bytes"], features["raw_bytes"]) == (on_disk, 2 * 200 * 3 * 4)
    assert features["ratio"] == pytest.approx(2_400 * 2 / on_disk, abs=1e-3)
    assert (features["chunks"], features["shards"]) == ([1, 20, 3], [2, 200, 3])
    assert arrays["gene_id"]["dtype"] == "string"
    assert (arrays["gene_id"]["raw_bytes"], arrays["gene_id"]["ratio"]) == (None, None)
    inputs, store = INPUTS, Store(small.store)
    weights = sum(4 * w.size for s in store.heads() for w in (s.w1, s.b1, s.w2, s.b2))
    heads = arrays["heads"]
    assert (heads["dtype"], heads["raw_bytes"], inputs) == (
        "group",
        weights,
        store.heads()[0].inputs,
    )
    assert facts["bytes"] == sum(f.stat().st_size for f in small.store.rglob("*") if f.is_file())
    assert facts["software"]["numpy"] == np.__version__
    text = succeeded(cli("inspect", small.store))
    assert "kind: store" in text
    assert facts["sha256"] in text
    assert "1x20x3" in text
    for note in facts["missing"]:
        assert note in text


@pytest.mark.slow
def test_inspect_says_what_is_missing(cli: Cli, small: Small, copied: Path, tmp_path: Path) -> None:
    def missing(path: Path) -> str:
        return "\n".join(json.loads(succeeded(cli("inspect", path, "--json")))["missing"])

    assert "hidden" not in missing(small.store)
    assert f"`seal-store calibrate {small.store} BACKGROUND.vcf --scheme grid`" in missing(
        small.store
    )
    bare = tmp_path / "bare.zarr"
    succeeded(cli(*small.build(bare, "--no-hidden", "--gene", "G1")))
    assert f"build --add-hidden --out {bare}" in missing(bare)
    assert "genes: 1 of 2 (1 not_selected)" in missing(bare)
    succeeded(cli("calibrate", copied, small.vcf, "--device", "cpu", "-q"))
    assert "scheme grid" not in missing(copied)
    assert "calibration for scheme centered: none" in missing(copied)
    summary = write_head_set(tmp_path / "more", "gamma", ("g1", "g2"), INPUTS, 4, 9)
    succeeded(cli("heads", "add", copied, summary, "-q"))
    assert "scheme grid: 2 of 7 contexts have none, gamma:g1 first" in missing(copied)
    facts = json.loads(succeeded(cli("inspect", copied, "--json")))
    assert facts["calibration"]["grid"]["file"] == small.vcf.name


def test_inspect_says_what_a_score_needs(cli: Cli, small: Small, tmp_path: Path) -> None:
    needs = json.loads(succeeded(cli("inspect", small.store, "--json")))["needs"]
    lines = small.vcf.read_text().splitlines()
    many = tmp_path / "many.vcf"
    many.write_text("\n".join(lines[:2] + lines[2:3] * 1_000) + "\n")
    for name, key in (("r.zarr", "zarr"), ("r.tsv", "tsv")):
        succeeded(cli(*small.score(tmp_path / name, vcf=many)))
        path = tmp_path / name
        files = [path] if path.is_file() else [f for f in path.rglob("*") if f.is_file()]
        assert sum(f.stat().st_size for f in files) <= needs["disk"][key]
    assert needs["disk"]["zarr_calibrated"] - needs["disk"]["zarr"] == 2 * 1_000 * 4 * 5
    assert 280e6 < needs["memory"] < 400e6
    assert 0 < needs["gpu_memory"] < needs["memory"]
    assert "memory" in succeeded(cli("inspect", small.store))


def test_inspect_says_what_results_hold(cli: Cli, small: Small, tmp_path: Path) -> None:
    out = tmp_path / "r.zarr"
    succeeded(cli(*small.score(out, "--scheme", "centered")))
    facts = json.loads(succeeded(cli("inspect", out, "--json")))
    assert (facts["kind"], facts["rows"], facts["scheme"]) == ("results", 4, "centered")
    assert facts["store"]["sha256"] == Store(small.store).sha256
    assert facts["counts"]["alleles"] == 6
    assert facts["command"].startswith("seal-store score vcf")
    assert "kind: results" in succeeded(cli("inspect", out))


@pytest.mark.parametrize("what", ["nowhere", "."])
def test_inspect_refuses_something_else(cli: Cli, tmp_path: Path, what: str) -> None:
    refused(cli("inspect", tmp_path / what), str(tmp_path / what))


def test_added_heads_are_scored_and_change_nothing_else(
    cli: Cli, small: Small, tsv: Path, copied: Path, tmp_path: Path
) -> None:
    summary = write_head_set(tmp_path / "more", "gamma", ("g1", "g2"), INPUTS, 4, 9)
    facts = json.loads(succeeded(cli("heads", "add", copied, summary, "--json", "-q")))
    assert [(h["name"], h["contexts"]) for h in facts] == [("gamma", 2)]
    text = succeeded(cli("heads", "list", copied, "--contexts"))
    assert [line.split()[0] for line in text.splitlines()] == [
        *("alpha", "a1", "a2", "both", "beta", "b1", "both", "gamma", "g1", "g2")
    ]
    succeeded(cli(*small.score(tmp_path / "x.tsv", store=copied)))
    found, before = table(tmp_path / "x.tsv"), table(tsv)
    assert found[0] == [*before[0], "g1", "g2"]
    for row, expected in zip(found[1:], before[1:], strict=True):
        assert row[:8] == expected[:8]
        np.testing.assert_allclose(
            np.array(row[13:18], float), np.array(expected[13:], float), atol=1e-6
        )
        assert all(float(value) != 0 for value in row[18:])
    assert Store(copied).array("expression").shape == (2, 7)


@pytest.mark.parametrize(
    ("added", "says"),
    [
        (lambda s, t: s.heads, "head set alpha is there already"),
        (lambda s, t: other_heads(t), "takes 40 inputs"),
        (lambda s, t: truncated_heads(t), "not a readable"),
        (lambda s, t: t / "nowhere", "not found"),
    ],
    ids=["there already", "another size", "truncated", "missing"],
)
def test_heads_that_cannot_be_added_leave_the_store_as_it_was(
    cli: Cli,
    small: Small,
    copied: Path,
    tmp_path: Path,
    added: Callable[[Small, Path], Path],
    says: str,
) -> None:
    before = Store(copied).sha256
    refused(cli("heads", "add", copied, added(small, tmp_path), "-q"), says)
    assert Store(copied).sha256 == before
    assert not partial_path(copied).exists()


@pytest.fixture
def interrupted(cli: Cli, copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store whose `heads add` was killed before its last step."""

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    summary = write_head_set(tmp_path / "more", "gamma", ("g1",), INPUTS, 4, 9)
    with monkeypatch.context() as patch:
        patch.setattr(library, "finalize", killed)
        refused(cli("heads", "add", copied, summary, "-q"), "interrupted", code=130)
    return copied


def test_interrupted_heads_add_is_completed_by_finalize(cli: Cli, interrupted: Path) -> None:
    refused(cli("inspect", interrupted), "unfinished", "--finalize")
    succeeded(cli("build", "--finalize", "--out", interrupted, "-q"))
    assert Store(interrupted).head_sets == ["alpha", "beta", "gamma"]


def test_resume_after_interrupted_heads_add_keeps_the_features(
    cli: Cli, small: Small, interrupted: Path, tmp_path: Path
) -> None:
    shard = partial_path(interrupted) / "features/c/0/0/0"
    kept = linked(shard, tmp_path)
    cli(*small.build(interrupted, "--resume"))
    assert kept.samefile(shard if shard.exists() else interrupted / "features/c/0/0/0")


# --- plan, shard, finalize, resume


def test_shards_one_by_one_give_the_store_of_one_go(
    cli: Cli, small: Small, tmp_path: Path, one_gene_a_shard: None
) -> None:
    whole, parts = tmp_path / "whole.zarr", tmp_path / "parts.zarr"
    succeeded(cli(*small.build(whole)))
    assert "2 genes in 2 shards" in succeeded(cli(*small.build(parts, "--plan")))
    succeeded(cli("build", "--shard", 1, "--out", parts, "--device", "cpu", "-q"))
    refused(cli("build", "--finalize", "--out", parts, "-q"), "shard 0 of 2 is not done")
    assert not parts.exists()
    succeeded(cli("build", "--shard", 0, "--out", parts, "--device", "cpu", "-q"))
    succeeded(cli("build", "--finalize", "--out", parts, "-q"))
    assert listed(parts) == listed(whole)
    assert attributes(parts) == attributes(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parts.zarr", "whole.zarr"]


@pytest.mark.parametrize("shard", ["-1", "1", "99"])
def test_a_shard_that_the_plan_lacks_is_refused(
    cli: Cli, small: Small, tmp_path: Path, shard: str
) -> None:
    out = tmp_path / "out.zarr"
    succeeded(cli(*small.build(out, "--plan")))
    refused(cli("build", "--out", out, "--shard", shard), f"--shard {shard}", "shards 0 to 0")


def test_resume_keeps_finished_shards(
    cli: Cli, small: Small, tmp_path: Path, one_gene_a_shard: None
) -> None:
    whole, out = tmp_path / "whole.zarr", tmp_path / "out.zarr"
    imported = ["--from-profiles", small.profiles]
    succeeded(cli(*small.build(whole, *imported)))
    succeeded(cli(*small.build(out, *imported, "--plan")))
    succeeded(cli("build", "--out", out, *imported, "--shard", 0, "-q"))
    refused(cli(*small.build(out, *imported)), "did not finish", "--resume")
    kept = linked(partial_path(out) / "features/c/0/0/0", tmp_path)
    written = kept.stat().st_mtime_ns
    succeeded(cli(*small.build(out, *imported, "--resume")))
    assert kept.samefile(out / "features/c/0/0/0")
    assert kept.stat().st_mtime_ns == written
    assert listed(out) == listed(whole)


@pytest.mark.parametrize(("module", "step"), [(manifest, "write"), (output, "replace")])
def test_resume_of_a_build_killed_while_publishing_keeps_the_features(
    cli: Cli, small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, step: str
) -> None:
    out = tmp_path / "out.zarr"
    partial = partial_path(out)
    imported = ["--from-profiles", small.profiles]
    original = getattr(module, step)

    def killed(path: Path, *more: object) -> None:
        if path == partial:
            raise KeyboardInterrupt
        original(path, *more)

    with monkeypatch.context() as patch:
        patch.setattr(module, step, killed)
        refused(cli(*small.build(out, *imported)), "interrupted", code=130)
    assert not out.exists()
    kept = linked(partial / "features/c/0/0/0", tmp_path)
    succeeded(cli(*small.build(out, *imported, "--resume")))
    assert kept.samefile(out / "features/c/0/0/0")


def test_resume_with_another_option_is_refused_and_named(
    cli: Cli, small: Small, tmp_path: Path
) -> None:
    out = tmp_path / "out.zarr"
    succeeded(cli(*small.build(out, "--plan")))
    torch.save(random_weights(CONFIG, 2), tmp_path / "other.pth")
    other = genes(tmp_path, small.genes.read_text().replace("30000", "30001"))
    for args, named in [
        (small.build(out, "--keep-bits", 10), "keep_bits"),
        (small.build(out, "--no-hidden"), "hidden"),
        (small.build(out, "--first-offset", -20_000), "grid"),
        (small.build(out, "--gene", "G1"), "gene"),
        (small.build(out, "--from-profiles", small.profiles), "hidden"),
        (small.build(out, cnn=tmp_path / "other.pth"), "cnn"),
        (small.build(out, genes=other), "gene_table"),
        (small.build(out, heads=next(small.heads.rglob("beta*.txt"))), "heads"),
    ]:
        refused(cli(*args, "--resume"), f"another {named}", "--overwrite")
    assert not out.exists()
    assert (partial_path(out) / JOURNAL).is_dir()


def test_resume_of_an_overwriting_build_gives_the_new_store(
    cli: Cli, small: Small, tmp_path: Path
) -> None:
    out = tmp_path / "out.zarr"
    imported = ["--from-profiles", small.profiles]
    again = [*imported, "--keep-bits", 8, "--overwrite"]
    succeeded(cli(*small.build(out, *imported)))
    succeeded(cli(*small.build(out, *again, "--plan")))
    succeeded(cli(*small.build(out, *again, "--resume")))
    assert Store(out).attributes.keep_bits == 8


@pytest.mark.slow
def test_build_store_py_is_the_same_command(small: Small, tmp_path: Path) -> None:
    def run(*args: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, ROOT / "build_store.py", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=ONE_THREAD)

    out = tmp_path / "out.zarr"
    _, *args = small.build(out, "--gene", "G2", "--json")
    done = run(*args)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["gene_table"] == {"computed": 1, "not_selected": 1}
    one, both = Store(out), Store(small.store)
    assert one.gene_id.tolist() == ["G2"]
    assert one.table.gene_id.tolist() == ["G1", "G2"]
    np.testing.assert_allclose(one.features(0), both.features(both.gene("G2")), atol=1e-6)
    assert one.attributes.command.startswith("seal-store build --genome ")
    wrong = run(*args, "--keep-bits", "24")
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("Usage: seal-store build ")


# --- demo


@pytest.mark.slow
def test_demo_writes_a_world_its_store_and_scores(cli: Cli, tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    text = succeeded(cli("demo", folder, "-q"))
    assert "synthetic, invented motifs" in text
    store, results = Store(folder / "store.zarr"), Results(folder / "scores.zarr")
    assert store.array("expression").shape[1] == 802
    header, *rows = table(folder / "scores.tsv")
    assert len(header) == 13 + 802
    assert len(rows) == len(results) > 30
    assert (folder / "variants.vcf").is_file()
    assert [str(folder / name) in text for name in ("store.zarr", "scores.zarr", "scores.tsv")]
    strongest = [line.split() for line in text.splitlines() if " bp " in line]
    assert len(strongest) == 5
    effects = np.sort(np.abs(results.rows().effect).max(1))[::-1][:5]
    np.testing.assert_allclose([abs(float(s[5])) for s in strongest], effects, rtol=1e-3)
    refused(cli("demo", folder), "exists already")


def test_odd_lines_of_the_gene_table_are_told(
    cli: Callable[..., Result], world: World, tmp_path: Path
) -> None:
    genes = tmp_path / "genes.bed"
    genes.write_text(world.genes.read_text() + "chr1\t7\t8\t.\tX\n")
    inputs = ["--genome", world.genome, "--genes", genes, "--cnn", world.cnn, "--near-vcf"]
    inputs += [world.variants, "--heads", world.heads, "--device", "cpu", "--json"]
    result = cli("build", "--out", tmp_path / "a.zarr", *inputs, "-q")
    assert result.exit_code == 0, result.output
    assert "1 line skipped: not as its format asks (first: " in result.stderr
    (counted,) = json.loads(result.stdout)["odd_lines"].values()
    assert counted["lines"] == 1
    assert "strand '.' is not + or -" in counted["first"]

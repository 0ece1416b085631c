"""Mutation testing: change one place of a module, and see whether its tests notice.

    python tests/mutants.py [--sample N] [--seed N] [--jobs N] [--list] [MODULE ...]

Mutants are those of cosmic-ray (numbers, operators, comparisons, conditions, loops, decorators,
except clauses) and, of every simple statement, its removal. Each is tried in a fork of this
process, which has torch and the other libraries loaded. There an import hook gives pytest the
changed source: no file is touched, and constants, defaults and properties are changed as well
as functions. A mutant is caught if a test fails, if it cannot be imported, or if it takes several
times the processor time of the unchanged module or more memory than any test needs.

Survivors are printed and written to ``bench-out/mutants.json``; exit code 1 if fewer than 90 % of
a module's mutants are caught. What survives for a reason is in ``tests/SURVIVORS.md``.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.metadata
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TESTS = {
    "model.grid": ("model/test_grid",),
    "model.cone": ("model/test_delta",),
    "model.delta": ("model/test_delta", "model/test_moved"),
    "model.edits": ("model/test_delta", "model/test_moved"),
    "model.fewer": ("model/test_moved",),
    "model.moved": ("model/test_moved",),
    "variants.alleles": (
        "variants/test_alleles",
        "variants/test_prepare",
        "variants/test_regions",
        "variants/test_liftover",
    ),
}
WARM = (
    "click google_crc32c hypothesis jsonschema ncls numcodecs numpy pyfaidx pysam pysam.bcftools "
    "pytest torch torch.nn.functional tqdm zarr zarr.codecs"
).split()
NOT_LOADED = 97
SLOW = "megabytes or takes_no_memory or cut_anywhere or flipped or ten_thousand or command_line"
"""Tests of how files are read, not of these modules: left out."""

MEMORY = 6 << 30
ENOUGH = 0.9

Make = Callable[[], str]


@dataclass(frozen=True)
class Mutant:
    """A changed source of ``seal_store.MODULE``; ``line`` is 1-based."""

    module: str
    line: int
    operator: str
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        change = f"{self.before}  ->  {self.after}" if self.after else f"without: {self.before}"
        return f"{self.module.replace('.', '/')}.py:{self.line}  {change}"


class _Loader(SourceLoader):
    def __init__(self, path: Path, source: str) -> None:
        self.path, self.source = path, source

    def get_filename(self, fullname: str) -> str:
        return str(self.path)

    def get_data(self, path: str | bytes) -> bytes:
        return self.source.encode()


class _Finder(MetaPathFinder):
    """Gives one module from changed source; stands before the finder of the installation."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self.name, self.loader = name, _Loader(path, source)

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        if fullname != self.name:
            return None
        return spec_from_loader(fullname, self.loader, origin=str(self.loader.path))


class _Bare(ast.NodeTransformer):
    """Takes annotations out: they are never evaluated, so changing one changes nothing."""

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)


def _meaning(source: str) -> str | None:
    """What the source says without annotations and layout; None if it is not Python.

    A private name of the module that only annotations use is left out as they are.
    """
    try:
        tree = _Bare().visit(ast.parse(source))
    except SyntaxError:
        return None
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return "".join(
        ast.dump(node)
        for node in tree.body
        if not (
            isinstance(node, ast.Pass)
            or (isinstance(node, ast.Assign) and _private(node) and not _private(node) & used)
        )
    )


def _private(node: ast.Assign) -> set[str]:
    return {t.id for t in node.targets if isinstance(t, ast.Name) and t.id.startswith("_")}


def _replaced(source: str) -> Iterator[tuple[int, str, Make]]:
    """Line, operator and maker of the mutants of cosmic-ray."""
    from cosmic_ray.ast import ast_nodes, get_ast
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator, operator_names

    tree = get_ast(source)
    for name in operator_names():
        kind = get_operator(name)
        if kind.arguments():
            continue
        operator = kind()
        places = [p for node in ast_nodes(tree) for p in operator.mutation_positions(node)]
        for i, (start, _) in enumerate(places):
            yield start[0], name.split("/")[1], partial(mutate_code, source, operator, i)


def _removed(source: str) -> Iterator[tuple[int, str, Make]]:
    """The same without one simple statement; imports and docstrings stay."""
    simple = (ast.Assign, ast.AugAssign, ast.Expr, ast.Return, ast.Raise, ast.Break, ast.Continue)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, simple) and not isinstance(getattr(node, "value", None), ast.Constant):
            yield node.lineno, "RemoveStatement", partial(_without, source, node)


def _without(source: str, node: ast.stmt) -> str:
    lines = source.splitlines(keepends=True)
    first, last = node.lineno - 1, node.end_lineno or node.lineno
    rest = lines[last - 1].encode()[node.end_col_offset :].decode()
    kept = lines[first].encode()[: node.col_offset].decode()
    return "".join([*lines[:first], kept, "pass", rest, *lines[last:]])


def mutants(module: str, count: int, seed: int) -> list[Mutant]:
    """``count`` mutants at random, or all (0): those that are Python and say something else.

    They are spread over the lines: one of each line, then a second of each, and so on.
    """
    source = _path(module).read_text(encoding="utf-8")
    old = source.splitlines()
    rng = random.Random(seed)
    every = [*_replaced(source), *_removed(source)]
    rng.shuffle(every)
    turns: Counter[int] = Counter()
    order = []
    for line, operator, make in every:
        order.append((turns[line], rng.random(), line, operator, make))
        turns[line] += 1
    seen = {None, _meaning(source)}
    found: list[Mutant] = []
    for _, _, line, operator, make in sorted(order, key=lambda x: x[:2]):
        changed = make()
        meaning = _meaning(changed)
        if meaning in seen:
            continue
        seen.add(meaning)
        if operator in ("RemoveStatement", "RemoveDecorator"):
            before, after = old[line - 1], ""
        else:
            pairs = zip(old, changed.splitlines(), strict=False)
            before, after = next((a, b) for a, b in pairs if a != b)
        found.append(Mutant(module, line, operator, before.strip(), after.strip(), changed))
        if len(found) == count:
            break
    return found


def _path(module: str) -> Path:
    return ROOT / "seal_store" / f"{module.replace('.', '/')}.py"


def _child(module: str, source: str, folder: Path, seconds: int) -> int:
    """Run the module's tests on ``source`` in this process; pytest's exit code."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with open(folder / "log", "wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    name = f"seal_store.{module}"
    finder = _Finder(name, _path(module), source)
    sys.meta_path.insert(0, finder)
    sys.dont_write_bytecode = True
    import hypothesis
    import pytest

    hypothesis.settings.register_profile(
        "mutants", phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate]
    )
    hypothesis.settings.load_profile("mutants")
    code = pytest.main(
        [
            *("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:pytest_cov"),
            *("-W", "ignore::pytest.PytestAssertRewriteWarning"),
            *("-k", f"not ({SLOW})"),
            f"--basetemp={folder / 'tmp'}",
            *(str(ROOT / "tests" / f"{test}.py") for test in TESTS[module]),
        ]
    )
    loaded = sys.modules.get(name)
    if code == 0 and (loaded is None or loaded.__loader__ is not finder.loader):
        return NOT_LOADED
    return int(code)


class Trials:
    """Forks that run tests, ``jobs`` at once."""

    def __init__(self, jobs: int, folder: Path) -> None:
        self.jobs, self.folder = jobs, folder
        self.started = 0
        self.running: dict[int, tuple[Mutant, float, Path]] = {}

    def start(self, mutant: Mutant, seconds: float) -> None:
        """Try a mutant, with at most so much processor time."""
        self.started += 1
        folder = self.folder / str(self.started)
        folder.mkdir()
        pid = os.fork()
        if not pid:
            code = 1
            try:
                code = _child(mutant.module, mutant.source, folder, int(seconds))
            finally:
                os._exit(code)
        # waiting, not computing: a generous multiple, as the machine may be shared
        self.running[pid] = (mutant, time.monotonic() + 5 * seconds, folder)

    def finished(self) -> tuple[Mutant, int, float, str]:
        """Wait for one: the mutant, its exit code (negative: signal), CPU seconds, the output."""
        while True:
            for pid, (_, deadline, _) in self.running.items():
                if time.monotonic() > deadline:
                    os.killpg(pid, signal.SIGKILL)
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid:
                break
            time.sleep(0.02)
        mutant, _, folder = self.running.pop(pid)
        log = folder / "log"
        output = log.read_text(errors="replace") if log.exists() else ""
        shutil.rmtree(folder, ignore_errors=True)
        code = os.waitstatus_to_exitcode(status)
        if code == NOT_LOADED:
            sys.exit(f"{mutant}: the tests ran on another copy of the module")
        return mutant, code, usage.ru_utime + usage.ru_stime, output

    def stop(self) -> None:
        """Kill what runs."""
        for pid in self.running:
            os.killpg(pid, signal.SIGKILL)


def unchanged(trials: Trials, module: str) -> float:
    """CPU seconds of the tests on the module as it is; exits if they do not pass."""
    source = _path(module).read_text(encoding="utf-8")
    trials.start(Mutant(module, 0, "", "unchanged", "unchanged", source), 600)
    _, code, seconds, output = trials.finished()
    if code:
        sys.exit(f"{output}\n{module}: the tests fail without any change (exit code {code})")
    return seconds


def survivors(trials: Trials, chosen: Sequence[Mutant], seconds: float) -> list[Mutant]:
    """The mutants that no test notices, in the order of the lines."""
    left = []
    waiting = list(chosen)
    done = 0
    while waiting or trials.running:
        while waiting and len(trials.running) < trials.jobs:
            trials.start(waiting.pop(0), 3 * seconds + 10)
        mutant, code, _, _ = trials.finished()
        done += 1
        if code == 0:
            left.append(mutant)
            print(f"  [{done}/{len(chosen)}] survived: {mutant}", flush=True)
    return sorted(left, key=lambda m: (m.line, m.operator, m.after))


def main() -> int:
    """Try the mutants of the modules named."""
    parser = argparse.ArgumentParser(description=f"mutation testing of {', '.join(TESTS)}")
    parser.add_argument("modules", nargs="*", default=list(TESTS), metavar="MODULE")
    parser.add_argument("--sample", type=int, default=100, help="mutants of a module; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--list", action="store_true", help="print the mutants; run nothing")
    options = parser.parse_args()
    os.chdir(ROOT)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    chosen = {m: mutants(m, options.sample, options.seed) for m in options.modules}
    if options.list:
        for group in chosen.values():
            for mutant in sorted(group, key=lambda m: m.line):
                print(mutant)
        return 0
    os.nice(10)
    for name in WARM:
        importlib.import_module(name)
    report, begin = {}, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = f"{folder}/hypothesis"
        trials = Trials(options.jobs, Path(folder))
        try:
            for module, group in chosen.items():
                seconds = unchanged(trials, module)
                print(f"{module}: {len(group)} mutants, {seconds:.0f} s for one that survives")
                left = survivors(trials, group, seconds)
                share = 1 - len(left) / len(group)
                print(f"{module}: {len(group) - len(left)} of {len(group)} caught, {share:.1%}")
                report[module] = {
                    "mutants": len(group),
                    "caught": len(group) - len(left),
                    "survivors": [str(m) for m in left],
                }
        finally:
            trials.stop()
    out = ROOT / "bench-out" / "mutants.json"
    out.parent.mkdir(exist_ok=True)
    facts = {
        "cosmic_ray": importlib.metadata.version("cosmic-ray"),
        "sample": options.sample,
        "seed": options.seed,
        "minutes": round((time.monotonic() - begin) / 60, 1),
        "modules": report,
    }
    out.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(f"{facts['minutes']} minutes; survivors in {out.relative_to(ROOT)}")
    return int(any(r["caught"] < ENOUGH * r["mutants"] for r in report.values()))


if __name__ == "__main__":
    sys.exit(main())

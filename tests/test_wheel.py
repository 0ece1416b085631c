"""The wheel, installed where nothing but its requirements is; a clone beside such an install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Collection
from importlib.metadata import Distribution, distribution
from pathlib import Path
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from test_docs import blocks

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("seal_store", "cli", "schemas", "resources")
BUILD = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
HELP = """
import click, seal_store
from seal_store.cli import COMMANDS, main

def show(command, *names):
    try:
        main([*names, "--help"], prog_name="seal-store")
    except SystemExit as done:
        assert not done.code, names
    for name in command.list_commands(None) if isinstance(command, click.Group) else ():
        show(command.get_command(None, name), *names, name)

show(main)
assert main.list_commands(None) == list(COMMANDS)
print(seal_store.__file__)
"""


def run(folder: Path, *command: str | Path) -> str:
    """What a command prints that must succeed, started in ``folder``."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, cwd=folder, env=env, text=True, capture_output=True)
    assert not done.returncode, done.stderr
    return done.stdout


def link_requirements(of: Distribution, extras: Collection[str], folder: Path) -> None:
    """Put links into ``folder`` to what is installed here of the requirements of ``of[extras]``."""
    folder.mkdir()
    waiting = [(of, extras)]
    seen = set()
    while waiting:
        needing, extras = waiting.pop()
        for requirement in map(Requirement, needing.requires or ()):
            marker, name = requirement.marker, requirement.name.lower()
            if marker and not any(marker.evaluate({"extra": e}) for e in ("", *extras)):
                continue
            if (name, *requirement.extras) in seen:
                continue
            seen.add((name, *requirement.extras))
            found = distribution(name)
            waiting.append((found, requirement.extras))
            for top in {file.parts[0] for file in found.files or ()} - {"..", "__pycache__"}:
                if not (folder / top).exists():
                    (folder / top).symlink_to(str(found.locate_file(top)))


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a wheel is built from, copied."""
    folder = tmp_path_factory.mktemp("clone")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(clone, sys.executable, "-c", BUILD, folder)
    shutil.rmtree(clone / "build")
    (found,) = folder.iterdir()
    return found


@pytest.fixture(scope="module", params=[()])
def environment(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Path:
    """The folder of commands of a new environment: the wheel and what ``wheel[param]`` requires."""
    folder = tmp_path_factory.mktemp("environment")
    run(folder, sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install")
    run(folder, *pip, "--no-deps", "--no-index", "--quiet", wheel)
    (packages,) = folder.glob("lib/python*/site-packages")
    (own,) = Distribution.discover(name="seal-store", path=[str(packages)])
    link_requirements(own, request.param, folder / "required")
    (packages / "required.pth").write_text(f"{folder / 'required'}\n")
    return python.parent


@pytest.fixture(scope="module")
def demo(environment: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo, made by the wheel outside of the source tree."""
    folder = tmp_path_factory.mktemp("anywhere")
    run(folder, environment / "seal-store", "demo", "demo", "--quiet")
    return folder / "demo"


def test_the_wheel_holds_every_package_and_data_file(wheel: Path, clone: Path) -> None:
    inside = {name: "" if name == "seal_store" else "seal_store/" for name in FOLDERS}
    expected = {
        inside[name] + path.relative_to(clone).as_posix()
        for name in FOLDERS
        for path in (clone / name).rglob("*")
        if path.is_file()
    }
    held = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == expected


@pytest.mark.slow
def test_commands_and_demo_run_without_extras(environment: Path, demo: Path) -> None:
    said = run(demo, environment / "python", "-c", HELP)
    assert said.count("Usage: seal-store") > 20
    assert Path(said.splitlines()[-1]).is_relative_to(environment.parent)
    assert "chr" in (demo / "scores.tsv").read_text()
    absent = "import importlib.util as u; print([u.find_spec(n) for n in ('xarray', 'pysam')])"
    assert run(demo, environment / "python", "-c", absent) == "[None, None]\n"


@pytest.mark.slow
@pytest.mark.parametrize("environment", [("xarray", "anndata")], indirect=True)
def test_python_runs_in_a_clone_with_a_plain_install(
    environment: Path, demo: Path, clone: Path
) -> None:
    (clone / "demo").symlink_to(demo)
    said = run(clone, environment / "python", "-c", "import seal_store; print(seal_store.__file__)")
    assert Path(said.strip()).is_relative_to(clone)
    shown = "\n".join(blocks(ROOT / "README.md", "python"))
    has_row = "\nassert effects.sizes['variant'] == 1 and bool(effects.ref_match.all())"
    for code in (
        "import seal_store; seal_store.open('demo/store.zarr')",
        "from seal_store.cli import main; main(['inspect', 'demo/store.zarr'])",
        shown + has_row,
    ):
        run(clone, environment / "python", "-c", code)

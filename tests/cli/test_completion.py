"""Shell completion, in child processes as a shell asks for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from seal_store.common.files import resource_table
from seal_store.store.store import Store

COMMAND = Path(sys.executable).with_name("seal-store")


def ask(line: str, **more: str) -> list[str]:
    """What the command offers for the last word of ``line``, ``type,value`` each."""
    words = line.split(" ")
    environment = {
        **os.environ,
        "_SEAL_STORE_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        **more,
    }
    done = subprocess.run([COMMAND], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


def source(shell: str) -> str:
    environment = {**os.environ, "_SEAL_STORE_COMPLETE": f"{shell}_source"}
    done = subprocess.run([COMMAND], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_commands_options_choices_and_paths() -> None:
    assert ask("seal-store sc") == ["plain,score"]
    assert ask("seal-store score s") == ["plain,saturate"]
    assert "plain,--max-distance" in ask("seal-store score vcf --m")
    assert ask("seal-store score vcf --scheme ") == ["plain,grid", "plain,centered"]
    assert ask("seal-store score vcf x.vcf --device c") == ["plain,cpu", "plain,cuda"]
    for line in ("seal-store inspect hg", "seal-store score vcf x.vcf --store hg"):
        assert ask(line) == ["file,hg"]


@pytest.mark.slow
def test_names_come_from_the_store_or_else_as_published(store: Store, tmp_path: Path) -> None:
    names, sets = (column.tolist() for column in store.contexts())
    given = f"seal-store score vcf x.vcf --store {store.path}"
    expected = sorted(f"plain,{name}" for name in names if name.startswith("childhood."))
    assert ask(f"{given} --contexts childhood.") == expected
    assert ask("seal-store score vcf x.vcf --contexts childhood.") == expected
    assert ask(f"seal-store expression {store.path} --contexts childhood.") == expected
    assert ask(f"{given} --heads ") == sorted(f"plain,{name}" for name in set(sets))
    assert ask(f"{given} --target al") == ["plain,all"]
    assert ask(f"{given} --contexts names.t") == ["file,names.t"]

    other = tmp_path / "other.zarr"
    other.mkdir()
    summary = {"Name of general contexts": "liver, lung"}
    heads = [{"name": "mine", "summary": summary}]
    (other / "zarr.json").write_text(json.dumps({"attributes": {"seal_store": {"heads": heads}}}))
    mine = f"seal-store score vcf x.vcf --store {other}"
    assert ask(f"{mine} --contexts l") == ["plain,liver", "plain,lung"]
    assert ask(f"{mine} --heads ") == ["plain,mine"]
    published = sorted({f"plain,{row['head_set']}" for row in resource_table("contexts")})
    for damage in ("{", "[]", '{"attributes": {"seal_store": {"heads": [3]}}}'):
        (other / "zarr.json").write_text(damage)
        assert ask(f"{mine} --heads ") == published


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes(tmp_path: Path) -> None:
    script = source("bash") + (
        "COMP_WORDS=(seal-store score vcf x.vcf --scheme c); COMP_CWORD=5\n"
        '_seal_store_completion seal-store; echo "${COMPREPLY[@]}"\n'
        "complete -p seal-store\n"
    )
    environment = {**os.environ, "PATH": f"{COMMAND.parent}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0] == "centered"
    assert "-F _seal_store_completion seal-store" in done.stdout


def test_other_shells_have_their_scripts() -> None:
    assert source("zsh").startswith("#compdef seal-store")
    assert "_SEAL_STORE_COMPLETE=zsh_complete" in source("zsh")
    assert "_SEAL_STORE_COMPLETE=fish_complete" in source("fish")


def test_a_store_from_elsewhere_neither_stops_nor_steers_the_shell(tmp_path: Path) -> None:
    summary = {"Name of general contexts": "plain,\x1b[31mred"}
    heads = [{"name": "mine", "summary": summary}]
    file = tmp_path / "zarr.json"
    file.write_text(json.dumps({"attributes": {"seal_store": {"heads": heads}}}))
    line = f"seal-store score vcf x.vcf --store {tmp_path} --contexts "
    assert ask(line) == ["plain,plain"]
    file.unlink()
    os.mkfifo(file)
    assert "plain,plain" not in ask(line)

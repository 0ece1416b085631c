"""Threads of the command wait asleep, unless the user said how they wait."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import os
from seal_store.cli import main
main(["--version"], standalone_mode=False)
print(os.environ.get("GOMP_SPINCOUNT"))
"""


@pytest.mark.parametrize(
    ("said", "found"),
    [({}, "10000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_a_command_spins_less_unless_it_is_told(said: dict[str, str], found: str) -> None:
    kept = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=kept | said, capture_output=True, text=True, check=True
    )
    assert run.stdout.split()[-1] == found

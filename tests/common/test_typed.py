"""Options given in Python: None, numpy's numbers, and what is wrong, in one line."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from seal_store.building.options import BuildOptions
from seal_store.common.typed import conform
from seal_store.errors import InputError, OutputError, ParameterError, SealStoreError
from seal_store.exporting.export import ExportOptions
from seal_store.results.view import Selection
from seal_store.scoring.options import AttributionOptions, ScoreOptions


@dataclass(frozen=True)
class Given:
    """One field of each kind."""

    needed: int
    count: int = 3
    share: float = 0.5
    flag: bool = False
    name: str = "x"
    names: Sequence[str] = ()
    path: Path = Path("p")
    paths: tuple[Path, ...] = ()
    most: int | None = None
    other: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        conform(self)


def test_none_is_the_default() -> None:
    given = {entry.name: None for entry in fields(Given)} | {"needed": 1, "other": {}}
    assert Given(**given) == Given(1)
    assert ScoreOptions(**dict.fromkeys(ScoreOptions.__dataclass_fields__)) == ScoreOptions()
    with pytest.raises(ParameterError, match="`needed` None: not a whole number"):
        Given(None)  # type: ignore[arg-type]


def test_what_comes_out_is_plain_python() -> None:
    found = Given(
        np.int64(1),  # type: ignore[arg-type]
        count=np.uint8(7),  # type: ignore[arg-type]
        share=np.float32(0.25),  # type: ignore[arg-type]
        flag=np.True_,  # type: ignore[arg-type]
        name=np.str_("n"),
        names=np.array(["a", "b"]),  # type: ignore[arg-type]
        path="q",  # type: ignore[arg-type]
        paths="r",  # type: ignore[arg-type]
        most=1e4,  # type: ignore[arg-type]
    )
    values = asdict(found)
    assert (values.pop("path"), values.pop("paths")) == (Path("q"), (Path("r"),))
    expected = {"needed": 1, "count": 7, "share": 0.25, "flag": True, "name": "n"}
    assert json.loads(json.dumps(values)) == expected | {
        "names": ["a", "b"],
        "most": 10_000,
        "other": {},
    }
    assert {type(v) for v in values.values()} == {int, float, bool, str, tuple, dict}
    assert Given(1, names="one").names == ("one",)
    assert Given(1, names=pd.Index(["a"])).names == ("a",)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("count", bad) for bad in ("8", 1.5, True, [1], float("nan"), float("inf"))),
        *(("share", bad) for bad in ("0.5", True, None.__class__, [1])),
        *(("flag", bad) for bad in (1, "yes", [])),
        *(("name", bad) for bad in (1, b"x", ["x"])),
        *(("names", bad) for bad in (5, b"x", ["a", 3], True)),
        *(("path", bad) for bad in (5, b"x")),
        ("most", "8"),
        ("name", "\n".join("ab") * 90),
    ],
)
def test_a_wrong_type_is_one_line_with_its_name(name: str, value: Any) -> None:
    if name == "name" and isinstance(value, str):
        name, value = "count", value  # as long as it is, it stays one short line
    with pytest.raises(ParameterError, match=f"^`{name}` .*: not ") as caught:
        Given(1, **{name: value})
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, InputError)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 100
    assert caught.value.hint


def test_an_address_is_no_path() -> None:
    with pytest.raises(InputError, match="^s3://bucket/x: is an address"):
        Given(1, path="s3://bucket/x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "needed", "name"),
    [
        (ScoreOptions, (), "batch"),
        (AttributionOptions, ("deeplift", "all"), "seed"),
        (Selection, (), "top"),
        (ExportOptions, (), "precision"),
        (BuildOptions, ("g", "t", "c", ("h",), "o"), "first_offset"),
    ],
)
def test_all_options_are_checked_so(kind: Any, needed: tuple[Any, ...], name: str) -> None:
    with pytest.raises(ParameterError, match=f"`{name}` '8': not a whole number"):
        kind(*needed, **{name: "8"})


def test_training_options_are_checked_so() -> None:
    from seal_store.training.compare import CompareOptions
    from seal_store.training.fit import FitOptions
    from seal_store.training.task import TrainOptions

    for make, name in (
        (lambda: FitOptions(epochs="3"), "epochs"),  # type: ignore[arg-type]
        (lambda: TrainOptions(Path(), "n", Path(), latent="3"), "latent"),  # type: ignore[arg-type]
        (lambda: CompareOptions(Path(), Path(), heads=3), "heads"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ParameterError, match=f"`{name}`"):
            make()


def test_a_traceback_shows_the_hint() -> None:
    code = "from seal_store.errors import HeadsError\nraise HeadsError('no such set', 'it has a')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "HeadsError: no such set\nhint: it has a" in done.stderr


@pytest.mark.parametrize("kind", [SealStoreError, InputError, OutputError, ParameterError])
def test_errors_cross_processes_with_their_hint(kind: type[SealStoreError]) -> None:
    found = pickle.loads(pickle.dumps(kind("what", "do this")))
    assert (str(found), found.hint, found.__notes__) == ("what", "do this", ["hint: do this"])
    assert not hasattr(kind("what"), "__notes__")

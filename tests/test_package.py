"""What holds for the package as a whole."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import seal_store
from seal_store.common.files import resource_table
from seal_store.model.labels import context_labels, feature_labels

ROOT = Path(seal_store.__file__).parent

ORDER = (
    "errors common reference model store variants fetch scoring results exporting atlas building "
    "training run check charts report study api explore synthetic invented"
).split()
"""Packages and top-level modules: each imports only those before it."""


def modules() -> dict[str, set[str]]:
    """Every module of the library but ``__init__``, and the modules of the library it imports."""
    paths = [path for path in ROOT.rglob("*.py") if path.stem != "__init__"]
    names = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in paths}
    return {name: _imports(path) for name, path in names.items()}


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("seal_store"):
            name = (node.module or "").removeprefix("seal_store").lstrip(".")
            is_package = (ROOT / name.replace(".", "/")).is_dir()
            inner = {f"{name}.{alias.name}".lstrip(".") for alias in node.names}
            found |= inner if is_package else {name}
    return found


def test_packages_import_one_way() -> None:
    assert {name.split(".")[0] for name in modules()} == set(ORDER)
    for name, used in modules().items():
        own = name.split(".")[0]
        allowed = {*ORDER[: ORDER.index(own)], own}
        assert {other.split(".")[0] for other in used} <= allowed, name


def test_modules_within_a_package_import_one_way() -> None:
    TopologicalSorter(modules()).prepare()  # raises CycleError


def test_no_private_part_of_zarr_is_used() -> None:
    for path in ROOT.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"zarr\.(core|_\w|\w+\._)", text), path.name


def test_few_modules_lie_outside_a_package() -> None:
    assert sum("." not in name for name in modules()) <= 8


def test_grid_is_numpy_only() -> None:
    tree = ast.parse((ROOT / "model" / "grid.py").read_text(encoding="utf-8"))
    names = {
        (n.module if isinstance(n, ast.ImportFrom) else n.names[0].name)
        for n in ast.walk(tree)
        if isinstance(n, ast.Import | ast.ImportFrom)
    }
    assert names == {"__future__", "dataclasses", "numpy"}


def test_modules_stay_short() -> None:
    for path in [*ROOT.rglob("*.py"), *ROOT.parent.glob("cli/*.py")]:
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 450, path.name


def test_contexts_table_has_the_published_counts() -> None:
    rows = resource_table("contexts")
    sets = [row["head_set"] for row in rows]
    assert len(rows) == 802
    assert sets.count("tissue_state_early_fetal_to_adult") == 122
    assert sets.count("cell_state_mid_fetal_to_adult") == 82
    assert sets.count("cell_state_early_fetal") == 598
    assert [r["kind"] for r in rows].count("region") == 122
    assert [r["kind"] for r in rows].count("cell") == 680
    assert len({(r["head_set"], r["name"]) for r in rows}) == 802
    for name in set(sets):
        own = [int(r["index"]) for r in rows if r["head_set"] == name]
        assert own == list(range(len(own)))
    regions = [r for r in rows if r["kind"] == "region"]
    assert len({r["region_code"] for r in regions}) == 26
    assert len({r["stage"] for r in regions}) == 7
    adult = [r for r in rows if r["head_set"] == "cell_state_mid_fetal_to_adult"]
    early = [r for r in rows if r["head_set"] == "cell_state_early_fetal"]
    assert len({r["cell_type"] for r in adult}) == 18
    assert len({r["stage"] for r in adult}) == 6
    assert len({r["cell_type"] for r in early}) == 12
    assert len({r["region"] for r in early}) == 23


def test_features_table_has_the_published_counts() -> None:
    kinds = [row["assay_type"] for row in resource_table("features")]
    assert len(kinds) == 2_002
    assert (kinds.count("TF"), kinds.count("Histone"), kinds.count("DNase")) == (690, 978, 334)
    assert [int(row["index"]) for row in resource_table("features")] == list(range(2_002))
    assert len({row["name"] for row in resource_table("features")}) == 2_002


def test_labels_of_other_models_are_numbers_and_blanks() -> None:
    assert feature_labels(3)["feature_name"].tolist() == ["feature_0", "feature_1", "feature_2"]
    assert len(feature_labels(2_002)["feature_name"]) == 2_002
    labels = context_labels([("cell_state_early_fetal", ["Early.Erythrocyte.233", "mine"])])
    assert labels["context_cell_type"].tolist() == ["Erythrocyte", ""]


def test_no_module_sets_anything_at_import() -> None:
    for path in ROOT.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Expr):
                assert isinstance(node.value, ast.Constant), f"{path.name}:{node.lineno}"


def test_what_scores_and_writes_knows_nothing_of_liftover() -> None:
    """It is a step before the engine, whose alleles carry their origin, taken in one place."""
    users = [name for name, used in modules().items() if "variants.liftover" in used]
    assert users == ["run.watch"]

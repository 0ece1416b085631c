"""What holds for the package as a whole."""

from __future__ import annotations

import ast
from pathlib import Path

import seal_store
from seal_store.labels import context_labels, feature_labels, table

ROOT = Path(seal_store.__file__).parent

ORDER = (
    "errors extras progress prefetch device contigs assembly gtf fai genome genes grid cnn trunk "
    "sweep delta heads labels layout frames manifest lock archive transfer fetch seal_folder "
    "journal shard_journal guard shards store calibration plan build lines regions index bcf "
    "variants records liftover notation given assign haplotype evaluate attribute scorer saturate "
    "results cells view strongest tables parquet info annotate tracks export write attach api "
    "calibrate integrity contents verify repair training.expression training.targets "
    "training.inputs training.outputs training.fit training.checkpoint training.metrics "
    "training.plots training.summary training.steps training.compare needs describe synthetic"
).split()


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("seal_store"):
            rest = (node.module or "").removeprefix("seal_store").lstrip(".")
            found |= {rest} if rest else {alias.name for alias in node.names}
    return found


def test_imports_point_one_way() -> None:
    modules = {
        ".".join(p.relative_to(ROOT).with_suffix("").parts): imports(p)
        for p in ROOT.rglob("*.py")
        if p.stem != "__init__" and "." not in p.parent.name
    }
    assert sorted(modules) == sorted(ORDER)
    for name, used in modules.items():
        allowed = ORDER[: ORDER.index(name)]
        assert used <= set(allowed), f"{name} imports {used - set(allowed)}"


def test_grid_is_numpy_only() -> None:
    tree = ast.parse((ROOT / "grid.py").read_text(encoding="utf-8"))
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
    rows = table("contexts")
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
    kinds = [row["assay_type"] for row in table("features")]
    assert len(kinds) == 2_002
    assert (kinds.count("TF"), kinds.count("Histone"), kinds.count("DNase")) == (690, 978, 334)
    assert [int(row["index"]) for row in table("features")] == list(range(2_002))
    assert len({row["name"] for row in table("features")}) == 2_002


def test_labels_of_other_models_are_numbers_and_blanks() -> None:
    assert feature_labels(3)["feature_name"].tolist() == ["feature_0", "feature_1", "feature_2"]
    assert len(feature_labels(2_002)["feature_name"]) == 2_002
    labels = context_labels([("cell_state_early_fetal", ["Early.Erythrocyte.233", "mine"])])
    assert labels["context_cell_type"].tolist() == ["Erythrocyte", ""]


def test_no_module_sets_anything_at_import() -> None:
    for path in ROOT.glob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Expr):
                assert isinstance(node.value, ast.Constant), f"{path.name}:{node.lineno}"

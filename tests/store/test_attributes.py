"""Attributes as dataclasses: the same fields as the schemas, the same JSON as what is written."""

from __future__ import annotations

import json
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from interrupted import scored

import seal_store.schemas
from seal_store.atlas.attributes import AtlasAttributes
from seal_store.common.records import Record
from seal_store.results.attributes import ResultsAttributes
from seal_store.results.group import Results
from seal_store.results.haplotypes import HaplotypesAttributes
from seal_store.store.attributes import StoreAttributes
from seal_store.store.store import Store
from seal_store.synthetic import World

PLAIN = {int: "integer", str: "string", bool: "boolean", float: "number"}


def schema_of(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        (Path(seal_store.schemas.__file__).parent / f"{name}.json").read_text()
    )
    return found


def compare(kind: Any, schema: dict[str, Any], whole: dict[str, Any], where: str = "$") -> None:
    """Raise :class:`AssertionError` where ``kind`` and ``schema`` are not of the same fields."""
    if "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    args, types = get_args(kind), schema.get("type")
    if get_origin(kind) is UnionType:
        assert isinstance(types, list), f"{where}: null"
        assert set(types) >= {"null"}, where
        (one,) = set(types) - {"null"}
        compare(args[0], {**schema, "type": one}, whole, where)
    elif is_dataclass(kind):
        compare_fields(kind, schema, whole, where)
    elif get_origin(kind) is tuple:
        assert types == "array", where
        compare(args[0], schema["items"], whole, f"{where}[]")
    elif get_origin(kind) is dict:
        assert types == "object", where
        inner = list(schema.get("properties", {}).values())
        more = schema.get("additionalProperties")
        for each in inner + ([more] if isinstance(more, dict) else []):
            compare(args[1], each, whole, f"{where}.*")
        assert inner or more or args[1] is Any, where
    else:
        found = types or PLAIN[type((schema.get("enum") or [schema.get("const")])[0])]
        assert found == PLAIN[kind], where


def compare_fields(kind: Any, schema: dict[str, Any], whole: dict[str, Any], where: str) -> None:
    assert schema["type"] == "object", where
    own = {f.name: f for f in fields(kind) if f.name != "rest"}
    assert set(own) == set(schema["properties"]), where
    given = {n for n, f in own.items() if f.default is MISSING and f.default_factory is MISSING}
    needed = given if issubclass(kind, Record) else set(own)
    assert needed == set(schema["required"]), where
    hints = get_type_hints(kind)
    for name, f in own.items():
        hint = hints[name]
        if f.metadata.get("left_out") and get_origin(hint) is UnionType:
            hint = get_args(hint)[0]  # absent, never null
        compare(hint, schema["properties"][name], whole, f"{where}.{name}")


KINDS = {
    "store-1": StoreAttributes,
    "results-1": ResultsAttributes,
    "atlas-1": AtlasAttributes,
    "haplotypes-1": HaplotypesAttributes,
}


@pytest.mark.parametrize("name", KINDS)
def test_dataclasses_and_schemas_have_the_same_fields(name: str) -> None:
    schema = schema_of(name)
    compare(KINDS[name], schema, schema)


@pytest.mark.parametrize("change", ["added", "removed", "required", "type", "null"])
def test_a_field_that_only_one_has_is_noticed(change: str) -> None:
    """The comparison above can fail: here it is shown to."""
    schema = schema_of("store-1")
    table = schema["properties"]["gene_table"]
    if change == "added":
        table["properties"]["more"] = {"type": "integer"}
    elif change == "removed":
        del schema["properties"]["cnn"]["properties"]["config"]["properties"]["hidden"]
    elif change == "required":
        table["required"].append("tss")
    elif change == "type":
        schema["$defs"]["calibration"]["properties"]["rows"]["type"] = "number"
    else:
        schema["properties"]["keep_bits"]["type"] = "integer"
    with pytest.raises(AssertionError):
        compare(StoreAttributes, schema, schema)


def written(path: Path, key: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "zarr.json").read_text())["attributes"][key]
    return found


def test_attributes_are_written_as_they_are_read(
    store: Store, world: World, tmp_path: Path
) -> None:
    """Keys in their order too: the same JSON."""
    scored(store, world.variants, tmp_path / "out.zarr")
    results = Results(tmp_path / "out.zarr")
    for opened, key in ((store, "seal_store"), (results, "seal_store_results")):
        text = json.dumps(written(opened.path, key))
        assert json.dumps(opened.attributes.to_dict()) == text


def test_keys_of_a_later_version_are_kept(store: Store) -> None:
    found = written(store.path, "seal_store")
    found["later"] = {"more": 1}
    found["genome"]["later"] = 2
    read = StoreAttributes.parse(found)
    assert read.to_dict() == found
    assert replace(read, command="other").to_dict()["genome"]["later"] == 2


def test_a_store_that_does_not_tell_has_64_genes_a_shard(store: Store) -> None:
    found = written(store.path, "seal_store")
    assert found.pop("genes_per_shard") == 64
    assert StoreAttributes.parse(found) == store.attributes

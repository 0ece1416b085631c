"""Opening the group of a store: attributes against their schema, arrays against the attributes."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import zarr

from seal_store.common.beside import GROUP, METADATA_BYTES, names_in
from seal_store.errors import FormatError
from seal_store.store import untrusted as guard
from seal_store.store.address import Entry
from seal_store.store.attributes import ATTRIBUTE, StoreAttributes
from seal_store.store.layout import (
    CALIBRATION,
    CALIBRATION_BINS,
    CALIBRATION_LEVELS,
    CNN,
    FORMAT_VERSION,
    HEADS,
    STORE,
    shape_of,
)
from seal_store.store.place import Place, files_at
from seal_store.store.untrusted import Expected

KINDS = {
    "seal_store": ("a store", "`seal-store score` scores from it, `seal_store.open` opens it"),
    "seal_store_results": (
        "a results group",
        "`seal-store export` writes it as a table, `seal_store.open_results` opens it",
    ),
    "seal_store_atlas": ("an atlas", "`seal-store lookup` reads it, `seal_store.Atlas` opens it"),
    "seal_store_haplotypes": (
        "haplotypes",
        "`seal-store export` writes them as a table, `seal_store.Haplotypes` opens them",
    ),
}
"""Attributes by which our groups are told, and what takes each, on a command line and in Python."""


def check_attributes(
    attributes: Mapping[str, Any], where: Place, key: str, schema: str, format_version: int
) -> dict[str, Any]:
    """The entry ``key`` of a group's ``attributes``, checked against a JSON Schema.

    Raises :class:`FormatError` if it is missing, of another version, or does not fit.
    """
    found = attributes.get(key)
    if not isinstance(found, dict):
        for other, (kind, hint) in KINDS.items():
            if other in attributes:
                raise FormatError(f"{where} is {kind}, not {KINDS[key][0]}", hint)
        raise FormatError(f"{where}: no {key!r} attributes", "is this a seal-store group?")
    named = ("results_version", "atlas_version", "haplotypes_version", "format_version")
    written = next((found[name] for name in named if name in found), None)
    if written != format_version:
        raise FormatError(
            f"{where}: format version {str(written)[:80]}, this seal-store reads {format_version}",
            "upgrade seal-store" if isinstance(written, int) and written > format_version else "",
        )
    text = files("seal_store.schemas").joinpath(f"{schema}-{format_version}.json").read_text()
    for error in _validator(json.loads(text)).iter_errors(found):  # the first is enough
        raise FormatError(f"{where}: attributes {error.json_path[:200]}: {error.message[:200]}")
    return found


def attributes_at(path: Place) -> set[str]:
    """Names of a Zarr group's attributes and of its metadata; empty if there is none."""
    try:
        return names_in(files_at(path).read(GROUP, METADATA_BYTES))
    except OSError:
        return set()


def store_attributes(attributes: Mapping[str, Any], where: Place) -> StoreAttributes:
    """Those of a store, checked. Raises :class:`FormatError` as :func:`check_attributes`."""
    return StoreAttributes.parse(
        check_attributes(attributes, where, ATTRIBUTE, "store", FORMAT_VERSION)
    )


def _validator(schema: Mapping[str, Any]) -> Any:
    """Of JSON Schema, but an integer is written as one: not 200.0, which Python takes otherwise."""
    kind = jsonschema.validators.validator_for(schema)
    checker = kind.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
    return jsonschema.validators.extend(kind, type_checker=checker)(schema)


def expected_arrays(attributes: StoreAttributes) -> dict[str, Expected]:
    """Every array of a store that has these attributes."""
    sizes, shard = attributes.sizes(), attributes.genes_per_shard
    found = {
        entry.name: Expected(entry, shape_of(entry, sizes), shard if entry.sharded else 0)
        for entry in (*STORE, *CNN)
        if (entry.name != "hidden" or attributes.hidden)
        and (entry.written != "finalize" or attributes.heads)
    }
    for heads in attributes.heads:
        own = attributes.head_sizes(heads)
        found |= {f"heads/{heads.name}/{e.name}": Expected(e, shape_of(e, own)) for e in HEADS}
    contexts = {heads.name: heads.contexts for heads in attributes.heads}
    for key, made in attributes.calibration.items():
        count = sum(contexts.get(name, 0) for name in made.heads)
        own = {"level": CALIBRATION_LEVELS, "context": count, "bin": len(made.bins or ())}
        table = (*CALIBRATION, *(CALIBRATION_BINS if made.bins else ()))
        found |= {f"calibration/{key}/{e.name}": Expected(e, shape_of(e, own)) for e in table}
    return found


def open_listed(path: Place, listed: Mapping[str, Entry]) -> tuple[zarr.Group, StoreAttributes]:
    """Group and attributes of a store, of the files ``listed``. Raises :class:`FormatError`."""
    metadata = guard.read_metadata(path, listed)
    attributes = store_attributes(metadata["attributes"], path)
    return open_all(path, metadata, expected_arrays(attributes), listed), attributes


def open_all(
    path: Place,
    metadata: Mapping[str, Any],
    expected: Mapping[str, Expected],
    listed: Mapping[str, Entry],
) -> zarr.Group:
    """:func:`~seal_store.store.untrusted.open_group` of a group that has all arrays expected."""
    group = guard.open_group(path, metadata, expected, listed)
    for name in expected:
        if name not in metadata["consolidated_metadata"]["metadata"]:
            raise FormatError(f"{path}: array {name} is missing", "build it again")
    return group


def consolidate(path: Path) -> None:
    """Write consolidated metadata, so that opening reads one file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
        zarr.consolidate_metadata(str(path), zarr_format=3)

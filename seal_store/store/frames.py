"""Stores and results in the libraries of analysis: xarray, pandas, AnnData.

Nothing here is imported before it is used; :data:`seal_store.common.extras.EXTRAS` says what has
it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seal_store.common.extras import require
from seal_store.errors import InputError
from seal_store.model.labels import context_columns, context_labels
from seal_store.store.layout import RESULTS, spec

if TYPE_CHECKING:
    import anndata
    import pandas as pd
    import xarray as xr
    import zarr.abc.store


def open_store(group: zarr.abc.store.Store) -> xr.Dataset:
    """The arrays of a store, lazy; labels are coordinates, ids and names are indexes."""
    return _indexed(
        _opened(group, "a store as xarray"), ("gene_id", "feature_name", "context_name")
    )


def open_effects(group: zarr.abc.store.Store, attributes: Mapping[str, Any]) -> xr.Dataset:
    """The arrays of a results group, lazy, labelled as :func:`effects` labels them."""
    found = _opened(group, "results as xarray")
    sets, names = (found[name].values.tolist() for name in ("context_set", "context_name"))
    found = found.assign_coords(_contexts(sets, names))
    found.attrs = dict(attributes)
    return _indexed(found, ("context_name",))


def effects(
    columns: Mapping[str, np.ndarray],
    effect: np.ndarray,
    context_set: Sequence[str],
    context_name: Sequence[str],
    attributes: Mapping[str, Any],
) -> xr.Dataset:
    """Scored rows as a dataset: ``effect`` (variant, context), all else as coordinates."""
    require("xarray", "effects as xarray")
    import xarray as xr

    coords = {name: ("variant", _plain(values), _about(name)) for name, values in columns.items()}
    found = xr.Dataset(
        {"effect": (("variant", "context"), effect, _about("effect"))},
        coords | _contexts(context_set, context_name),
        dict(attributes),
    )
    return _indexed(found, ("context_name",))


def to_frame(effects: xr.Dataset, *, long: bool = False) -> pd.DataFrame:
    """Effects as a table of pandas: a row for each variant and gene.

    Parameters
    ----------
    effects
        What :func:`seal_store.score` or :meth:`seal_store.Results.to_xarray` gave, or a part of
        it (``.isel``, ``.sel``, ``.where(..., drop=True)``); read into memory.
    long
        False: the columns of results, then one column for each context, named by the context, or
        ``set:context`` where several sets (or a column) have the name. True: one line for each
        variant, gene and context, with ``context_set``, ``context_name`` and ``effect``.

    Returns
    -------
    pandas.DataFrame
        ``effect`` is float32, ln(expression + pseudocount), alt minus ref; ``pos`` 1-based;
        ``attrs`` are those of the dataset: scheme, counts and reasons, the store.

    Raises
    ------
    InputError
        ``effects`` has no ``effect`` along ``variant`` and ``context``.
    """
    require("xarray", "effects as a table")
    import pandas as pd

    if "effect" not in effects or set(effects["effect"].dims) != {"variant", "context"}:
        raise InputError(
            "no effects along variant and context in this dataset",
            "choose one context with a list: .isel(context=[0])",
        )
    values = effects["effect"].transpose("variant", "context").values
    own = {
        str(name): coord.values
        for name, coord in effects.coords.items()
        if coord.dims == ("variant",)
    }
    sets, names = (effects[name].values.tolist() for name in ("context_set", "context_name"))
    if long:
        rows, contexts = values.shape
        found = pd.DataFrame({name: np.repeat(column, contexts) for name, column in own.items()})
        found["context_set"] = np.tile(np.array(sets, object), rows)
        found["context_name"] = np.tile(np.array(names, object), rows)
        found["effect"] = values.ravel()
    else:
        labels = context_columns(sets, names, own)
        wide = pd.DataFrame(values, columns=pd.Index(labels, dtype=object))
        found = pd.concat([pd.DataFrame(own), wide], axis=1)
    found.attrs = dict(effects.attrs)
    return found


def expression(
    values: np.ndarray,
    genes: Mapping[str, np.ndarray],
    contexts: Mapping[str, np.ndarray],
    attributes: Mapping[str, Any],
) -> anndata.AnnData:
    """``values`` (gene, context) with labels of both; the first column of ``genes`` is the id."""
    require("anndata", "expression as AnnData")
    import anndata
    import pandas as pd

    labels = context_columns(contexts["context_set"].tolist(), contexts["context_name"].tolist())
    id_, *rest = genes

    def frame(columns: Mapping[str, np.ndarray], index: list[str], name: str | None) -> Any:
        found = {
            key: pd.Series(_plain(own), dtype=_plain(own).dtype) for key, own in columns.items()
        }
        return pd.DataFrame(found).set_index(pd.Index(index, dtype=object, name=name))

    obs = frame({name: genes[name] for name in rest}, genes[id_].tolist(), id_)
    var = frame(contexts, labels, None)
    return anndata.AnnData(X=values, obs=obs, var=var, uns=dict(attributes))


def _opened(group: zarr.abc.store.Store, what: str) -> xr.Dataset:
    require("xarray", what)
    import xarray as xr

    found = xr.open_zarr(group, chunks=None)
    return found.set_coords([name for name, v in found.variables.items() if v.ndim == 1])


def _indexed(found: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    for name in names:
        if name in found.coords:
            found = found.set_xindex(name)
    return found


def _contexts(
    context_set: Sequence[str], context_name: Sequence[str]
) -> dict[str, tuple[str, np.ndarray]]:
    """Coordinates along ``context``; kind, stage, region and cell type of published contexts."""
    labels = context_labels([(s, [n]) for s, n in zip(context_set, context_name, strict=True)])
    return {name: ("context", _plain(values)) for name, values in labels.items()}


def _plain(values: np.ndarray) -> np.ndarray:
    """Strings as Python objects, which every version of these libraries takes."""
    return values.astype(object) if values.dtype.kind in "UT" else values


def _about(name: str) -> dict[str, str]:
    """Attributes of a variable, as results files have them."""
    if all(entry.name != name for entry in RESULTS):
        return {}
    entry = spec(RESULTS, name)
    return {"long_name": entry.meaning} | ({"units": entry.unit} if entry.unit else {})

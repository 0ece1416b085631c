"""Stores and results in the libraries of analysis: xarray, pandas, AnnData.

Nothing here is imported before it is used; :data:`seal_store.common.extras.EXTRAS` says what has
it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from seal_store.common.extras import require
from seal_store.errors import InputError, ParameterError
from seal_store.model.labels import context_columns, context_labels, harmonised_stage
from seal_store.store.layout import CALIBRATED, LIFTED, NAMED, PLACES, RESULTS, SOURCE, ArraySpec

if TYPE_CHECKING:
    import anndata
    import pandas as pd
    import xarray as xr
    import zarr
    import zarr.abc.store


TEXT = np.dtypes.StringDType()

HARMONISED = "context_stage_harmonised"
"""Label of contexts that is made when they are shown: a stage in one spelling for all sets."""


class Shown(Protocol):
    """Results, or whatever else is effects as xarray."""

    def to_xarray(self) -> xr.Dataset:
        """Effects with labels."""


def plain_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes that netCDF can hold: numbers and texts as they are, all else as JSON text."""
    plain = (str, int, float)
    return {
        name: value
        if isinstance(value, plain) and not isinstance(value, bool)
        else json.dumps(value)
        for name, value in attributes.items()
    }


def open_store(group: zarr.abc.store.Store) -> xr.Dataset:
    """The arrays of a store, lazy; labels are coordinates, ids and names are indexes."""
    found = _opened(group, "a store as xarray")
    if "context_stage" in found:
        stages = found["context_stage"].values.tolist()
        found = found.assign_coords({HARMONISED: ("context", _harmonised(stages))})
    return _indexed(found, ("gene_id", "feature_name", "context_name"))


def open_effects(group: zarr.Group, attributes: Mapping[str, Any]) -> xr.Dataset:
    """The arrays of a results group, lazy, labelled as :func:`effects` labels them."""
    found = _opened(group.store, "results as xarray")
    sets, names = (found[name].values.tolist() for name in ("context_set", "context_name"))
    found = found.assign_coords(_contexts(sets, names))
    found.attrs = plain_attributes(attributes)
    if "attribution_scale" in found:
        found["attribution"] = _scaled(found, group)
        found = found.drop_vars("attribution_scale")
    return _indexed(_ordered(found), ("context_name",))


def _scaled(found: xr.Dataset, group: zarr.Group) -> xr.Variable:
    """Attributions kept as float16 and a scale, as the float32 that they stand for; lazy."""
    import xarray as xr
    from xarray.backends import BackendArray
    from xarray.core import indexing

    small, scale = (
        cast("zarr.Array[Any]", group[name]) for name in ("attribution", "attribution_scale")
    )

    class Scaled(BackendArray):
        shape, dtype = small.shape, np.dtype(np.float32)

        def __getitem__(self, key: indexing.ExplicitIndexer) -> np.ndarray:
            outer = indexing.IndexingSupport.OUTER
            return indexing.explicit_indexing_adapter(key, self.shape, outer, self.read)

        def read(self, key: tuple[Any, ...]) -> np.ndarray:
            factor = np.asarray(scale.oindex[key[:2]])
            if not isinstance(key[2], int | np.integer):
                factor = factor[..., None]
            return np.asarray(small.oindex[key]).astype(np.float32) * factor

    own = found["attribution"].variable
    return xr.Variable(own.dims, indexing.LazilyIndexedArray(Scaled()), own.attrs)


def effects(
    arrays: Iterable[tuple[ArraySpec, np.ndarray]],
    context_set: Sequence[str],
    context_name: Sequence[str],
    attributes: Mapping[str, Any],
) -> xr.Dataset:
    """Scored rows as a dataset, as :func:`open_effects` opens them: labels are coordinates."""
    require("xarray", "effects as xarray")
    import xarray as xr

    variables = {
        entry.name: (entry.dims, _texts(values), _about(entry)) for entry, values in arrays
    }
    found = xr.Dataset(variables, attrs=plain_attributes(attributes))
    found = found.set_coords([name for name, v in found.variables.items() if v.ndim == 1])
    found = found.assign_coords(_contexts(context_set, context_name))
    return _indexed(_ordered(found), ("context_name",))


def to_frame(effects: xr.Dataset | Shown, *, long: bool = False) -> pd.DataFrame:
    """Effects as a table of pandas: a row for each variant and gene.

    Parameters
    ----------
    effects
        What :func:`seal_store.score` gave, or a part of it (``.isel``, ``.sel``,
        ``.where(..., drop=True)``); or results as :func:`seal_store.open_results` opens them.
        Read into memory.
    long
        False: the columns of results, then one column for each context, named by the context, or
        ``set:context`` where several sets (or a column) have the name; of calibrated effects then
        ``NAME.quantile`` of all contexts and ``NAME.z`` of all. True: one line for each variant,
        gene and context, with ``context_set``, ``context_name``, ``effect`` and, if calibrated,
        ``quantile`` and ``z``.

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
    import xarray as xr

    if hasattr(effects, "to_xarray"):
        effects = effects.to_xarray()
    if not isinstance(effects, xr.Dataset):
        kind = type(effects).__name__
        raise ParameterError(f"`effects`: a {kind}", "give what `score` or `open_results` gave")
    if "effect" not in effects or set(effects["effect"].dims) != {"variant", "context"}:
        raise InputError(
            "no effects along variant and context in this dataset",
            "choose one context with a list: .isel(context=[0])",
        )
    values = {
        name: effects[name].transpose("variant", "context").values
        for name in ("effect", *(entry.name for entry in CALIBRATED))
        if name in effects
    }
    own = {
        str(name): _plain(coord.values)
        for name, coord in effects.coords.items()
        if coord.dims == ("variant",)
    }
    sets, names = (effects[name].values.tolist() for name in ("context_set", "context_name"))
    if long:
        rows, contexts = values["effect"].shape
        found = pd.DataFrame({name: np.repeat(column, contexts) for name, column in own.items()})
        found["context_set"] = np.tile(np.array(sets, object), rows)
        found["context_name"] = np.tile(np.array(names, object), rows)
        for name, column in values.items():
            found[name] = column.ravel()
    else:
        labels = context_columns(sets, names, own)
        wide = [
            pd.DataFrame(column, columns=pd.Index(_suffixed(labels, name), dtype=object))
            for name, column in values.items()
        ]
        found = pd.concat([pd.DataFrame(own), *wide], axis=1)
    found.attrs = dict(effects.attrs)
    return found


def _suffixed(labels: Sequence[str], measure: str) -> list[str]:
    return [label if measure == "effect" else f"{label}.{measure}" for label in labels]


def table(columns: Mapping[str, np.ndarray], index: str) -> pd.DataFrame:
    """Columns of equal length as a table of pandas, by one of them."""
    require("xarray", "labels as a table")
    import pandas as pd

    return pd.DataFrame({name: _plain(own) for name, own in columns.items()}).set_index(index)


def contexts(context_set: Sequence[str], context_name: Sequence[str]) -> pd.DataFrame:
    """Contexts and their labels as a table of pandas, by ``name`` or ``set:name``."""
    labels = np.array(context_columns(context_set, context_name), object)
    columns = {name: own for name, (_, own) in _contexts(context_set, context_name).items()}
    return table({"context": labels, **columns}, "context")


def matrix(
    values: np.ndarray, rows: np.ndarray, columns: Sequence[str], index: str
) -> pd.DataFrame:
    """``values`` with labels of both sides as a table of pandas."""
    require("xarray", "values as a table")
    import pandas as pd

    return pd.DataFrame(values, pd.Index(_plain(rows), name=index), pd.Index(columns))


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
    stages = _harmonised(contexts["context_stage"].tolist())
    id_, *rest = genes

    def frame(columns: Mapping[str, np.ndarray], index: list[str], name: str | None) -> Any:
        found = {
            key: pd.Series(_plain(own), dtype=_plain(own).dtype) for key, own in columns.items()
        }
        return pd.DataFrame(found).set_index(pd.Index(index, dtype=object, name=name))

    obs = frame({name: genes[name] for name in rest}, genes[id_].tolist(), id_)
    var = frame({**contexts, HARMONISED: stages}, labels, None)
    return anndata.AnnData(X=values, obs=obs, var=var, uns=dict(attributes))


def _opened(group: zarr.abc.store.Store, what: str) -> xr.Dataset:
    require("xarray", what)
    import xarray as xr

    found = xr.open_zarr(group, chunks=None)
    found.attrs = plain_attributes(found.attrs)
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
    labels[HARMONISED] = _harmonised(labels["context_stage"].tolist())
    return {name: ("context", _plain(values)) for name, values in labels.items()}


def _harmonised(stages: Sequence[str]) -> np.ndarray:
    return np.array([harmonised_stage(stage) for stage in stages], object)


def _ordered(found: xr.Dataset) -> xr.Dataset:
    """Coordinates in the order of the layout, whatever order they were found in."""
    known = [entry.name for entry in (*RESULTS, *NAMED, SOURCE, *LIFTED, *PLACES)]

    def place(name: str) -> tuple[int, str]:
        if name in known:
            return known.index(name), ""
        return len(known), "" if name.startswith("context_") else name

    names = sorted(map(str, found.coords), key=place)
    return found.reset_coords(drop=True).assign_coords({n: found[n].variable for n in names})


def _texts(values: np.ndarray) -> np.ndarray:
    """Strings as Zarr gives them."""
    return values.astype(TEXT) if values.dtype.kind == "U" else values


def _plain(values: np.ndarray) -> np.ndarray:
    """Strings as Python objects, which every version of these libraries takes."""
    return values.astype(object) if values.dtype.kind in "UT" else values


def _about(entry: ArraySpec) -> dict[str, str]:
    """Attributes of a variable, as results files have them."""
    return {"long_name": entry.meaning} | ({"units": entry.unit} if entry.unit else {})

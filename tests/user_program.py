"""A program as users write it, for `make check`: what public functions take and give is typed."""

from typing import Any, assert_type

import numpy as np
import pandas as pd
import xarray as xr

import seal_store

Array = np.ndarray[tuple[Any, ...], np.dtype[Any]]


def program() -> None:
    store = seal_store.open("x.zarr")
    assert_type(store.features("ENSG"), Array)
    assert_type(store.position("ENSG"), int)
    effects = seal_store.score(store, pd.DataFrame(), scheme="centered", contexts=["a"])
    assert_type(effects, xr.Dataset)
    assert_type(seal_store.open_results("y.zarr").rows().effect, Array)
    try:
        seal_store.to_frame(effects, long=True)
    except seal_store.SealStoreError as error:
        assert_type(error.hint, str)
    seal_store.score(store, [], schema="grid")  # type: ignore[call-arg]
    store.features(2.5)  # type: ignore[arg-type]

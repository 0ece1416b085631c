"""Places along a dimension as people give them: a position, a name, a list, a mask, a slice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from seal_store.common.typed import shown
from seal_store.errors import ParameterError


def places(
    name: str, given: Any, length: int, find: Callable[[str], int] | None = None
) -> int | slice | np.ndarray:
    """What to read along a dimension of ``length``, for the parameter ``name``.

    A text is looked up by ``find``, a whole number is a position from 0, a slice one of
    positions. A collection of texts and numbers, in any order, gives int64 positions; one of
    ``length`` truth values those that are true. Raises :class:`ParameterError` for anything else
    and :class:`IndexError` for a position that is not there.
    """
    if isinstance(given, slice):
        try:
            found = range(length)[given]
        except (TypeError, ValueError) as error:
            raise ParameterError(
                f"`{name}` {shown(given)}: {error}", "slice by positions"
            ) from None
        if found.step == 1:
            return slice(found.start, max(found.start, found.stop))
        return np.array(found, np.int64)
    if hasattr(given, "__array__"):
        given = np.asarray(given).tolist()
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        return _place(name, given, length, find)
    several = list(given)
    if several and all(isinstance(one, bool) for one in several):
        if len(several) != length:
            raise IndexError(f"{name}: {len(several)} truth values for {length} places")
        return np.flatnonzero(several)
    return np.array([_place(name, one, length, find) for one in several], np.int64)


def _place(name: str, given: Any, length: int, find: Callable[[str], int] | None) -> int:
    if isinstance(given, str) and find is not None:
        return find(str(given))
    if isinstance(given, bool) or not isinstance(given, int | np.integer):
        known = "an id, a symbol or a position from 0" if find else "a position from 0"
        raise ParameterError(
            f"`{name}` {shown(given)}: not {known}", "a list or a slice is several"
        )
    if not 0 <= given < length:
        raise IndexError(f"{name} {given}: there are 0 to {length - 1}")
    return int(given)

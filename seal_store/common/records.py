"""Dataclasses as JSON objects and back, by their fields and annotations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from types import UnionType
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

LEFT_OUT = {"left_out": True}
"""Metadata of a field that is not written while it is None or empty."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A JSON object with known keys, in the order of its fields.

    ``rest`` keeps keys that a later version wrote, so that they are not lost when it is written
    again.
    """

    rest: dict[str, Any] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        found: dict[str, Any] = to_json(self)
        return found

    @classmethod
    def parse(cls, values: Any) -> Self:
        """The inverse of :meth:`to_dict`, of values that a schema was checked for."""
        found: Self = from_json(cls, values)
        return found


def to_json(value: Any) -> Any:
    """Dataclasses, mappings and sequences as JSON-ready dicts and lists."""
    if is_dataclass(value) and not isinstance(value, type):
        own = ((f, getattr(value, f.name)) for f in fields(value) if f.name != "rest")
        kept = {
            f.name: to_json(v)
            for f, v in own
            if not f.metadata.get("left_out") or v not in (None, {})
        }
        return kept | getattr(value, "rest", {})
    if isinstance(value, Mapping):
        return {key: to_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(inner) for inner in value]
    return value


def from_json(kind: Any, value: Any) -> Any:
    """JSON ``value`` as the annotation ``kind``: a dataclass, X | None, tuple, dict or plain."""
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        inner = next(arg for arg in args if arg is not type(None))
        return None if value is None else from_json(inner, value)
    if origin is tuple:
        return tuple(from_json(args[0], inner) for inner in value)
    if origin is dict:
        return {key: from_json(args[1], inner) for key, inner in value.items()}
    if not is_dataclass(kind):
        return value
    hints = get_type_hints(kind)
    names = {f.name for f in fields(kind)} - {"rest"}
    found = {key: from_json(hints[key], inner) for key, inner in value.items() if key in names}
    if "rest" in hints:
        found["rest"] = {key: inner for key, inner in value.items() if key not in names}
    made: Any = kind
    return made(**found)

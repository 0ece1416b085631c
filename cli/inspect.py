"""``seal-store inspect``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from . import _options

if TYPE_CHECKING:
    from seal_store.store.place import Place

NEEDS = {
    "zarr": "disk, 1,000 rows, .zarr (before compression)",
    "zarr_calibrated": "the same with --calibrated",
    "tsv": "disk, 1,000 rows, .tsv",
    "tsv_calibrated": "the same with --calibrated",
    "memory": "memory",
    "gpu_memory": "GPU memory",
}


@click.command()
@click.argument("path", type=_options.PLACE)
@_options.cache
@_options.as_json
def inspect(path: Place) -> None:
    """Show what a store, results, an atlas or haplotypes hold and lack, and where they came from.

    Of a store also what a score will need.
    --json has all of it in bytes, with the chunks of every array.
    """
    from seal_store.check.describe import describe

    _options.say(describe(path), _text)


def _text(facts: dict[str, Any]) -> list[str]:
    arrays, missing, total = (facts.pop(key) for key in ("arrays", "missing", "bytes"))
    needs, command = facts.pop("needs", None), facts.pop("command")
    lines = [*_lines(facts), f"command: {command}", "", f"on disk: {_size(total)}"]
    lines += _table(
        ("array", "dtype", "shape", "chunks", "on disk", "ratio"),
        [
            (
                row["name"],
                row["dtype"],
                "x".join(map(str, row["shape"])),
                "x".join(map(str, row["chunks"])),
                _size(row["bytes"]),
                "" if row["ratio"] is None else f"{row['ratio']:.2f}",
            )
            for row in arrays
        ],
    )
    if missing:
        lines += ["", "missing:", *(f"  {note}" for note in missing)]
    if needs:
        values = {**needs["disk"], "memory": needs["memory"], "gpu_memory": needs["gpu_memory"]}
        lines += ["", f"a score needs about (estimated, SNVs, --batch {needs['batch']}):"]
        lines += [f"  {text}: {_size(values[key])}" for key, text in NEEDS.items()]
    return lines


def _lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:" + ("" if value else " none"), *_lines(value, indent + "  ")]
        elif value == []:
            lines.append(f"{indent}{key}: none")
        elif isinstance(value, list) and isinstance(value[0], dict):
            lines.append(f"{indent}{key}:")
            for item in value:
                lines.append(f"{indent}  " + "  ".join(str(v) for v in item.values()))
        else:
            lines.append(f"{indent}{key}: {value}")
    return lines


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    padded = (map(str.ljust, row, widths) for row in (header, *rows))
    return [("  " + "  ".join(row)).rstrip() for row in padded]


def _size(count: int) -> str:
    """Bytes in decimal units, three significant digits."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1_000, larger
    return f"{value:.3g} {unit}"

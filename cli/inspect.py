"""``seal-store inspect``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from seal_store.cli import _options


@click.command()
@click.argument("path", type=_options.PATH)
@_options.as_json
def inspect(path: Path, as_json: bool) -> None:
    """Show what a store or a results group holds and where it came from."""
    from seal_store.describe import describe

    facts = describe(path)
    click.echo(json.dumps(facts) if as_json else "\n".join(_lines(facts)))


def _lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:", *_lines(value, indent + "  ")]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            lines.append(f"{indent}{key}:")
            for item in value:
                lines.append(f"{indent}  " + "  ".join(str(v) for v in item.values()))
        else:
            lines.append(f"{indent}{key}: {value}")
    return lines

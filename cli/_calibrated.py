"""Options that ask for quantiles: from the store's calibration, or from one that is named."""

from __future__ import annotations

from typing import Any

import click
from click.core import ParameterSource

from . import _options

QUANTILES = {"calibrated", "calibration"}


def calibrated(default: bool | None, text: str) -> _options.Decorator:
    """``--calibrated``, with this help, and ``--calibration``."""
    return _options.stack(
        click.option("--calibrated/--no-calibrated", default=default, help=text),
        _options.calibration,
    )


def use_name(common: dict[str, Any]) -> None:
    """A calibration that is named is asked for, unless that is refused beside it."""
    if common["calibration"]:
        source = click.get_current_context().get_parameter_source("calibrated")
        if source is ParameterSource.COMMANDLINE and not common["calibrated"]:
            _options.refuse_unused({"calibration"}, "with --no-calibrated")
        common["calibrated"] = True

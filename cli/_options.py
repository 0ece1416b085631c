"""Options that several commands share, defined once."""

from __future__ import annotations

from pathlib import Path

import click

PATH = click.Path(path_type=Path)

device = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N."
)
tf32 = click.option(
    "--tf32/--no-tf32", default=False, help="Allow TF32 products on CUDA: faster, less exact."
)
overwrite = click.option("--overwrite", is_flag=True, help="Replace an existing output.")
quiet = click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print a JSON summary on stdout.")
precision = click.option(
    "--precision",
    default=6,
    show_default=True,
    type=click.IntRange(1, 17),
    help="Significant digits in text output.",
)

"""Options that several commands share, defined once."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from seal_store.common.files import local_path
from seal_store.errors import InputError

from . import _complete

if TYPE_CHECKING:
    from seal_store.results.view import Selection


class LocalPath(click.Path):
    """A path on this machine: an address, as ``s3://...``, is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Raises :class:`InputError` for an address."""
        _refuse_address(value, param)
        return super().convert(value, param, ctx)


class NameOrFile(click.types.StringParamType):
    """A name or a file of names, or a path behind ``NAME=``: an address is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The text as it is. Raises :class:`InputError` for an address."""
        for text in (value, value.partition("=")[2]):
            _refuse_address(text, param)
        return super().convert(value, param, ctx)


def _refuse_address(value: Any, param: click.Parameter | None) -> None:
    try:
        local_path(value)
    except InputError as error:
        assert param is not None
        own = param.opts[0] if isinstance(param, click.Option) else param.human_readable_name
        raise InputError(f"{own} {error}", error.hint) from None


PATH = LocalPath(path_type=Path)
FILE_OR_STDIN = LocalPath(allow_dash=True)
NAME_OR_FILE = NameOrFile()

device = click.option(
    "--device",
    default="auto",
    show_default=True,
    shell_complete=_complete.devices,
    help="auto, cpu, cuda or cuda:N.",
)
tf32 = click.option(
    "--tf32/--no-tf32", default=False, help="Allow TF32 products on CUDA: faster, less exact."
)
resume = click.option(
    "--resume", is_flag=True, help="Go on with an interrupted run of the same command."
)
overwrite = click.option("--overwrite", is_flag=True, help="Replace an existing output.")
quiet = click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")
as_json = click.option("--json", "as_json", is_flag=True, help="Print a JSON summary on stdout.")
batch = click.option(
    "--batch",
    default=128,
    show_default=True,
    type=click.IntRange(1, 2**20),
    help="Variants at once: speed and memory only.",
)
contexts = click.option(
    "--contexts",
    type=NAME_OR_FILE,
    multiple=True,
    shell_complete=_complete.contexts,
    help="Only these contexts: a name, set:name, or a file with one a line. Repeatable.",
)
min_effect = click.option(
    "--min-effect",
    default=0.0,
    metavar="X",
    help="Only variants and genes with an effect of at least X, either sign, on a chosen context.",
)
long = click.option(
    "--long", is_flag=True, help="Tables: a line for each context instead of a column."
)
top = click.option(
    "--top",
    type=click.IntRange(1),
    metavar="N",
    help="Only the N strongest contexts of each variant and gene; a table becomes long. "
    "Default: all, in a VCF 5.",
)
precision = click.option(
    "--precision",
    default=6,
    show_default=True,
    type=click.IntRange(1, 17),
    help="Significant digits in text output.",
)


def refuse_unused(options: Collection[str], where: str) -> None:
    """Raise :class:`click.UsageError` for the first of ``options`` that was given.

    ``options`` are names of parameters that do nothing ``where``, as "with --shard".
    """
    context = click.get_current_context()
    for parameter in context.command.params:
        if parameter.name not in options:
            continue
        if context.get_parameter_source(parameter.name) is ParameterSource.COMMANDLINE:
            flag = "/".join([parameter.opts[0], *parameter.secondary_opts])
            raise click.UsageError(f"{flag} has no effect {where}")


def selection(given: dict[str, Any]) -> Selection:
    """What to show, from ``contexts``, ``min_effect``, ``top`` and ``long`` of a command."""
    from seal_store.results.view import Selection

    contexts = names(given["contexts"])
    return Selection(contexts, given["min_effect"], given["top"], given["long"])


def names(values: tuple[str, ...]) -> tuple[str, ...]:
    """Names given on the command line; one that is a file stands for the names in it."""
    found: list[str] = []
    for value in values:
        path = Path(value)
        if not path.is_file():
            found.append(value)
            continue
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            raise InputError(f"{path}: not a text file", "give one name a line") from None
        own = [line.strip() for line in lines if line.strip()]
        if not own:
            raise InputError(f"{path}: names nothing", "give one name a line")
        found += own
    return tuple(found)

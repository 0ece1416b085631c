"""Options that several commands share, and what they mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from seal_store.common.files import local_path
from seal_store.errors import InputError

from . import _complete

if TYPE_CHECKING:
    from seal_store.results.view import Selection

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


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


def stack(*options: Decorator) -> Decorator:
    """Options as one decorator, in the order in which ``--help`` lists them."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def number(name: str, default: int, text: str, least: int = 1, most: int = 2**20) -> Decorator:
    """An option of a whole number from ``least`` to ``most``."""
    kind = click.IntRange(least, most)
    return click.option(name, default=default, show_default=True, type=kind, help=text)


def choice(name: str, values: list[str], text: str) -> Decorator:
    """An option of one of ``values``, by default the first."""
    kind = click.Choice(values)
    return click.option(name, default=values[0], show_default=True, type=kind, help=text)


def gene(text: str) -> Decorator:
    """``--gene``, of ids or files of them."""
    return click.option("--gene", type=NAME_OR_FILE, multiple=True, help=text)


def _keep(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    context.meta[f"seal_store.{parameter.name}"] = value


def is_given(name: str) -> bool:
    """Whether the running command was given ``quiet`` or ``as_json``."""
    return bool(click.get_current_context().meta.get(f"seal_store.{name}"))


def say(facts: Any, text: str | Callable[[Any], str]) -> None:
    """Print a summary on stdout: ``facts`` as JSON with ``--json``, else ``text`` (of them)."""
    if is_given("as_json"):
        click.echo(json.dumps(facts))
    elif shown := text if isinstance(text, str) else text(facts):
        click.echo(shown)


device = click.option(
    "--device",
    default="auto",
    show_default=True,
    shell_complete=_complete.devices,
    help="auto, cpu, cuda or cuda:N.",
)
tf32 = click.option("--tf32/--no-tf32", default=False, help="TF32 on CUDA: faster, less exact.")
engine = stack(number("--batch", 128, "Variants at once: speed and memory only."), device, tf32)
resume = click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
overwrite = click.option("--overwrite", is_flag=True, help="Replace an existing output.")
kept = partial(click.option, is_flag=True, expose_value=False, callback=_keep)
quiet = kept("--quiet", "-q", help="No progress on stderr.")
as_json = kept("--json", "as_json", help="Print a JSON summary on stdout.")
reporting = stack(overwrite, quiet, as_json)

scheme = choice(
    "--scheme",
    ["grid", "centered"],
    "grid: the gene's own windows that the allele touches. centered: Seal's nine windows.",
)
gene_distance = stack(
    choice(
        "--genes",
        ["nearest", "all"],
        "The gene with the nearest TSS, or all genes within the distance.",
    ),
    click.option(
        "--max-distance",
        default=20_000,
        show_default=True,
        help="Largest distance to the TSS, bp.",
    ),
)
contexts = click.option(
    "--contexts",
    type=NAME_OR_FILE,
    multiple=True,
    shell_complete=_complete.contexts,
    help="Only these contexts: a name, set:name, or a file with one a line. Repeatable.",
)
selecting = stack(
    click.option(
        "--long", is_flag=True, help="Tables: a line for each context instead of a column."
    ),
    click.option(
        "--top",
        type=click.IntRange(1),
        metavar="N",
        help="Only the N strongest contexts of each variant and gene; a table becomes long. "
        "Default: all, in a VCF 5.",
    ),
    click.option(
        "--min-effect",
        default=0.0,
        metavar="X",
        help="Only variants and genes with an effect of at least X, either sign, on a chosen "
        "context.",
    ),
)
precision = number("--precision", 6, "Significant digits in text output.", most=17)


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

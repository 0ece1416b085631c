"""Options that several commands share, and what they mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from seal_store.common.files import local_path
from seal_store.errors import InputError

from . import _complete
from ._text import tell

if TYPE_CHECKING:
    from seal_store.check.repair import Repaired
    from seal_store.results.view import Selection
    from seal_store.run.crew import Crew
    from seal_store.store.place import Place

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


class PlacePath(click.Path):
    """A path on this machine, or an address, with what ``--cache`` and ``--work`` are given."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """A :class:`Path` or an address. Raises :class:`InputError` for one of another kind."""
        from seal_store.store.address import Address
        from seal_store.store.place import place

        meta = ctx.meta if ctx else {}
        found = place(value, meta.get(CACHE), meta.get(WORK))
        return found if isinstance(found, Address) else super().convert(value, param, ctx)


CACHE, WORK = "seal_store.cache", "seal_store.work"
PATH = LocalPath(path_type=Path)
PLACE = PlacePath(path_type=Path)
FILE_OR_STDIN = PlacePath(allow_dash=True)
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


Text = str | Sequence[str]


def say(facts: Any, text: Text | Callable[[Any], Text], *, err: bool = False) -> None:
    """Print a summary on stdout: ``facts`` as JSON with ``--json``, else ``text`` (of them).

    On stderr if ``err``, where stdout has the output itself.
    """
    if is_given("as_json"):
        tell(json.dumps(facts), err=err)
    elif shown := text(facts) if callable(text) else text:
        tell(shown, err=err)


device = click.option(
    "--device",
    default="auto",
    show_default=True,
    shell_complete=_complete.devices,
    help="auto, cpu, cuda or cuda:N.",
)
crew_device = click.option(
    "--device",
    default="auto",
    show_default=True,
    shell_complete=_complete.devices,
    help="auto, cpu, cuda, cuda:N, or cuda:all: a process on each GPU.",
)
tf32 = click.option("--tf32/--no-tf32", default=False, help="TF32 on CUDA: faster, less exact.")


def _is_tf32(context: click.Context, parameter: click.Parameter, value: str | None) -> bool:
    return value == "tf32"


_products = partial(click.option, callback=_is_tf32)
products = stack(
    _products("--no-tf32", "tf32", flag_value="float32", hidden=True),
    _products("--tf32", "tf32", flag_value="tf32", help="Short for --products tf32."),
    _products(
        "--products",
        "tf32",
        type=click.Choice(["float32", "tf32"]),
        default="float32",
        show_default=True,
        help="How products with what an allele changes are computed. tf32: faster on GPUs that "
        "have it, with errors of up to 0.3 % of a variant's largest effect.",
    ),
)
"""One parameter, ``tf32``: whether TF32 is asked for."""
_batch = number("--batch", 128, "Variants at once: speed and memory only.")
engine = stack(_batch, device, products)
crewed = stack(
    click.option(
        "--workers",
        type=click.IntRange(1, 4096),
        metavar="N",
        help="Processes to share the work; threads are divided among them. Same bytes.",
    ),
    click.option(
        "--scheduler",
        default="",
        metavar="ADDRESS",
        help="Share the work among the workers of this Dask scheduler (tcp://HOST:PORT or its "
        "--scheduler-file), or of one started here: local.",
    ),
)
"""Options of commands that several processes can share."""
crew_engine = stack(_batch, crew_device, products, crewed)
resume = click.option("--resume", is_flag=True, help="Go on with an interrupted run.")
overwrite = click.option("--overwrite", is_flag=True, help="Replace an existing output.")
kept = partial(click.option, is_flag=True, expose_value=False, callback=_keep)


def _folder(name: str, key: str, text: str) -> Decorator:
    return click.option(
        name,
        type=PATH,
        metavar="DIR",
        is_eager=True,  # before the addresses that it belongs to
        expose_value=False,
        callback=lambda context, _, value: context.meta.__setitem__(key, value),
        help=text,
    )


cache = _folder(
    "--cache",
    CACHE,
    "Keep in DIR what is read of a store or results at an address (s3://, https:// ...).",
)
work = _folder(
    "--work",
    WORK,
    "Where what goes to an address (s3://, gs://, az://) is made before it is sent, with what "
    "--resume goes on with. Default: here.",
)
quiet = kept("--quiet", "-q", help="No progress on stderr.")
as_json = kept("--json", "as_json", help="Print a JSON summary on stdout.")
reporting = stack(overwrite, quiet, as_json)

scheme = choice(
    "--scheme",
    ["grid", "centered"],
    "grid: the gene's own windows that the allele touches. centered: Seal's nine windows.",
)
calibration = click.option(
    "--calibration",
    default="",
    metavar="NAME",
    help="Quantiles (and z) from the store's calibration of this name. Default: the one without.",
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
mismatch = choice(
    "--ref-mismatch",
    ["flag", "swap", "skip", "error"],
    "What to do where REF differs from the genome. swap: where the genome has ALT, score REF as "
    "its change and turn the sign; flag others.",
)
normalize = click.option(
    "--normalize/--no-normalize",
    default=False,
    help="Left-align and trim alleles before they are scored; rows keep POS, REF and ALT.",
)
check_assembly = click.option(
    "--check-assembly/--no-check-assembly",
    default=True,
    help="Refuse variants that seem to be of another assembly: by their header, or if that does "
    "not tell, where most REF bases differ from the genome.",
)
contexts = click.option(
    "--contexts",
    type=NAME_OR_FILE,
    multiple=True,
    shell_complete=_complete.contexts,
    help="Only these contexts: a name, set:name, labels as in 'stage=childhood region=DFC', or a "
    "file with one of these a line. Repeatable.",
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


def crew(given: dict[str, Any]) -> Crew:
    """Take ``workers`` and ``scheduler`` out of a command's options; who does the work."""
    from seal_store.run.crew import Crew

    found = Crew(given.pop("workers"), given.pop("scheduler"), given["device"])
    found.check()
    return found


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


def check_step(unused: Mapping[str, Collection[str]], **steps: object) -> None:
    """Refuse several of ``steps``, and the ``unused`` options of the one that was chosen."""
    flags = {name: f"--{name.replace('_', '-')}" for name in steps}
    chosen = [name for name, given in steps.items() if given]
    if len(chosen) > 1:
        *first, last = flags.values()
        raise click.UsageError(f"{', '.join(first)} and {last} exclude each other")
    for name in chosen:
        refuse_unused(unused[name], f"with {flags[name]}")


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


def say_repaired(out: object, done: Repaired) -> None:
    """Print what a repair of ``out`` did."""
    from seal_store.common.words import counted

    facts = {
        "out": str(out),
        "faults": len(done.report.faults),
        "files": done.files,
        "same": done.same,
        "sha256": done.sha256,
    }
    faults, files = (len(found) for found in (done.report.faults, done.files))
    text = f"{out}: {counted(faults, 'fault')}, {counted(files, 'file')} written again"
    if not done.report.faults:
        text = f"{out}: no fault"
    elif not done.same:
        text += "; its bytes, and so its SHA-256, are others than before"
    say(facts, text)


def do_tasks(out: Place, unit: str, numbers: Sequence[int], run: Callable[[], object]) -> None:
    """Do shards or slices of a plan, and say so.

    Of an output that is finished there is nothing to do: a batch system may run a task again.
    """
    from seal_store.common.words import counted
    from seal_store.errors import UnfinishedError
    from seal_store.run.status import is_finished

    text = f"{counted(len(numbers), unit)} done"
    try:
        run()
    except UnfinishedError:
        if not is_finished(out):
            raise
        text = f"{out}: is finished, nothing is left to do"
    say({"out": str(out), f"{unit}s": list(numbers)}, text)

"""The ``seal-store`` command. Commands only translate: flags in, one call into the library.

Modules load when their command runs, so ``--help`` answers at once.
"""

from __future__ import annotations

import errno
import importlib
import os
import re
import shlex
from collections.abc import Sequence
from typing import Any

import click

from seal_store.common.threads import spin_less
from seal_store.errors import SealStoreError, printable

from ._interrupt import CODE, Interrupts
from ._text import shown, tell

COMMANDS = (
    *("fetch", "build", "score", "merge", "status", "attribute", "calibrate", "expression"),
    *(
        "atlas",
        "lookup",
        "export",
        "heads",
        "train",
        "plot",
        "report",
        "evaluate",
        "loci",
        "burden",
        "explore",
        "inspect",
        "verify",
        "demo",
    ),
)
"""Commands in the order of use, each the name of its module too."""

PARAMETER = re.compile(r"`([a-z]\w*)(?:=([^`]*))?`")
"""How the library names a parameter in its messages: `overwrite=True`, `contexts`."""

NAMED_OTHERWISE = {
    "calibration": "name",
    "context": "contexts",
    "targets": "target",
    "near": "near_vcf",
    "out": "folder",
}
"""Parameters of the library and what commands call them."""


TYPED = "seal_store.typed"
"""Where the context keeps the arguments as they were typed."""

RESUMABLE = ("build", "score", "train", "calibrate", "atlas")
"""Commands with ``--resume``."""


class Failure(click.ClickException):
    """One line on stderr and an exit code."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(" ".join(message.split())))

    def line(self) -> str:
        """What is printed."""
        return f"seal-store: error: {self.message}"

    def show(self, file: Any = None) -> None:
        """Print the line."""
        tell(self.line(), err=True, file=file)


class Interrupted(Failure):
    """Ctrl-C in a command, which may be one that goes on where it ended."""

    exit_code = CODE

    def __init__(self, command: str | None) -> None:
        hint = "; the same command with --resume goes on" if command in RESUMABLE else ""
        if command == "fetch":
            hint = "; the same command goes on"
        super().__init__(f"interrupted{hint}")


class Root(click.Group):
    """Loads commands lazily, remembers the command line, turns our errors into one line."""

    def __call__(self, *args: Any, **extra: Any) -> Any:
        """Run as a program, which Ctrl-C ends, and which waits for no thread once it has failed."""
        spin_less(os.environ)
        begun: list[click.Context] = []  # by invoke: the context, which knows the command

        def last_words() -> str:
            return Interrupted(begun[0].invoked_subcommand if begun else None).line()

        with Interrupts(last_words) as interrupts:
            try:
                return super().__call__(*args, obj=begun, **extra)
            except SystemExit as end:
                if isinstance(end.code, int) and end.code:
                    interrupts.end(CODE if interrupts.heard else end.code)
                raise

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All of them, in the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import one command."""
        if name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(f"{__name__}.{name}"), name)
        return command

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Keep the command line for the record in outputs."""
        typed = list(args)
        ctx = super().make_context(info_name, args, parent, **extra)
        ctx.meta[TYPED] = typed
        return ctx

    def _running(self, ctx: click.Context) -> click.Command:
        """The command that was asked for, below this group or a group in it."""
        command: click.Command | None = self
        for name in ctx.meta[TYPED]:
            if not isinstance(command, click.Group):
                break
            command = command.get_command(ctx, name)
        return command or self

    def invoke(self, ctx: click.Context) -> Any:
        """Run; expected failures become :class:`Failure`."""
        if ctx.obj is not None:
            ctx.obj.append(ctx)
        try:
            os.getcwd()  # libraries end the process where there is none
        except FileNotFoundError:
            raise Failure("the working directory was removed; change to another one") from None
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            # names of files that a shell put there
            raise click.UsageError(shown(error.format_message()), error.ctx) from None
        except SealStoreError as error:
            text = f"{error}; {error.hint}" if error.hint else str(error)
            raise Failure(as_typed(text, self._running(ctx))) from error
        except KeyboardInterrupt as error:
            raise Interrupted(ctx.invoked_subcommand) from error
        except BrokenPipeError:
            raise
        except OSError as error:
            text = f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                text += f"; make room and try again ({', '.join(RESUMABLE)}: --resume)"
            raise Failure(text) from error
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "memory" not in str(error):
                raise
            why = "out of memory; score with a smaller --batch, or on another device"
            raise Failure(why) from error


def as_typed(message: str, command: click.Command) -> str:
    """A message of the library with the flags of ``command`` for the parameters it names.

    `overwrite=True` becomes --overwrite, `hidden=False` --no-hidden, `device='cpu'` --device cpu,
    an argument its name in capitals. What ``command`` does not have stays as it is.
    """
    parameters = {parameter.name: parameter for parameter in command.params}

    def flag(found: re.Match[str]) -> str:
        name, value = found.groups()
        own = parameters.get(name) or parameters.get(NAMED_OTHERWISE.get(name, ""))
        if own is None:
            return found[0]
        if isinstance(own, click.Argument):
            return own.human_readable_name
        if value == "False" and own.secondary_opts:
            return own.secondary_opts[0]
        shown = "" if value in (None, "True") else " " + value.strip("'\"")
        return own.opts[0] + shown

    return PARAMETER.sub(flag, message)


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="seal-store")
def main() -> None:
    """Expression effects of genetic variants in 802 contexts of the developing human brain.

    Build a feature store once per genome, then score any VCF from that store alone.
    """


UNRECORDED = (
    *("--resume", "--overwrite", "--quiet", "-q", "--json"),
    *("--plan", "--slices", "--slice", "--finalize", "--workers", "--scheduler"),
    *("--cache", "--work"),
)
"""Options that change nothing in an output: who does the work, in how many runs, what is kept."""


def command_line() -> str:
    """The command as it was typed, for the record in outputs, but for :data:`UNRECORDED`."""
    context = click.get_current_context()
    root = context.find_root()
    valued = {
        name
        for parameter in context.command.params
        for name in parameter.opts
        if isinstance(parameter, click.Option) and not parameter.is_flag
    }
    kept: list[str] = []
    left_out = ""
    for word in root.meta[TYPED]:
        value_of, left_out = left_out, ""
        if word.partition("=")[0] in UNRECORDED:
            left_out = word if word in valued else ""
        elif not value_of or word.startswith("-"):
            kept.append(word)
    return shlex.join([root.info_name or "seal-store", *kept])


def run(args: Sequence[str]) -> None:
    """Run the command with ``args`` as a script would."""
    main(args=list(args), prog_name="seal-store")

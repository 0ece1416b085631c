"""``seal-store explore``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from . import _options
from ._text import tell

if TYPE_CHECKING:
    from seal_store.store.place import Place


@click.command()
@click.argument("store", type=_options.PLACE)
@click.argument("results", type=_options.PLACE, required=False)
@_options.cache
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option(
    "--port",
    default=0,
    show_default=True,
    type=click.IntRange(0, 65_535),
    help="Port to listen at; 0: a free one.",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in a browser.")
@_options.calibration
@_options.device
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads to compute with.")
@_options.quiet
@_options.as_json
def explore(
    store: Place,
    results: Place | None,
    host: str,
    port: int,
    opens: bool,
    calibration: str,
    device: str,
    threads: int | None,
) -> None:
    """Look at STORE in a browser: genes, typed variants, saturations, and RESULTS of a score.

    Prints an address with a token; only who has it is answered, by default on this machine alone.
    The page asks no network. Ctrl-C ends it and leaves nothing behind. Needs
    `pip install 'seal-store[explore]'`.
    """
    from seal_store.explore.serve import exposed, serve

    def ready(address: str) -> None:
        _options.say({"address": address}, address)
        if not _options.is_given("quiet"):
            tell("Ctrl-C ends it", err=True)
        if opens:
            import webbrowser

            webbrowser.open(address)

    if exposed(host):
        tell(f"warning: {exposed(host)}", err=True)
    serve(
        store,
        results,
        host=host,
        port=port,
        device=device,
        threads=threads,
        calibration=calibration,
        ready=ready,
    )

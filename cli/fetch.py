"""``seal-store fetch``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import _options
from ._progress import Meter
from ._text import tell

if TYPE_CHECKING:
    from seal_store.fetch.download import Download, Fetched

NAMES = ("models", "resources")


@click.command()
@click.argument("what", nargs=-1, type=click.Choice(NAMES))
@click.option("--to", "folder", type=_options.PATH, required=True, help="Folder to download to.")
@click.option(
    *("--base-url", "base_urls"),
    multiple=True,
    help="Take the files from below this https address (http for this machine only); Zenodo is "
    "not asked for anything then. Repeatable: the next one is tried where one fails.",
)
@click.option("--no-extract", is_flag=True, help="Do not unpack the archives.")
@click.option("--offline", is_flag=True, help="Only say what to download by hand, and where to.")
@_options.number("--retries", 5, "Failures without progress in between before giving up.", 0, 1_000)
@click.option(
    "--timeout",
    default=60.0,
    show_default=True,
    type=click.FloatRange(0, 86_400, min_open=True),
    help="Seconds to wait for an answer or the next bytes.",
)
@_options.quiet
@_options.as_json
def fetch(
    what: tuple[str, ...],
    folder: Path,
    base_urls: tuple[str, ...],
    no_extract: bool,
    offline: bool,
    **patience: Any,
) -> None:
    """Download Seal's published models and resources (both by default) and unpack them.

    Interrupted, the same command goes on where it ended, if the server can. Archives that are
    in the folder already are only unpacked. Then: seal-store build --from-seal DIR --out STORE.
    """
    from seal_store.fetch import download as library
    from seal_store.fetch.archive import extract

    found = library.downloads()
    chosen = [found[name] for name in dict.fromkeys(what or NAMES)]
    if base_urls:
        chosen = [replace(item, record=None) for item in chosen]
    there = [item for item in chosen if not no_extract and (folder / item.folder).is_dir()]
    wanted = [item for item in chosen if not (item in there or (folder / item.file).exists())]
    if offline:
        todo = [
            {"name": d.name, "url": d.url, "page": d.page, "to": str(folder / d.file)}
            for d in wanted
        ]
        text = "\n".join(library.by_hand(d, folder) for d in wanted)
        _options.say(todo, text or "nothing is left to download")
        return
    done: list[dict[str, Any]] = []

    def finished(facts: dict[str, Any], text: str) -> None:
        done.append(facts)
        if not _options.is_given("as_json"):
            tell(text)

    with Meter() as progress:
        for item in chosen:
            into = None if no_extract else folder / item.folder
            if item in there and not (folder / item.file).exists():
                facts = {"name": item.name, "new": False, "unpacked": str(into)}
                finished(facts, f"{into}: there already; to download it again, remove it")
                continue
            if item in wanted:
                tell(f"{item.name}: {item.holds} ({item.page})\n{item.licence}", err=True)
            got = library.fetch(
                item,
                folder,
                base_urls=base_urls,
                patience=library.Patience(**patience),
                progress=progress,
                note=lambda text: tell(text, err=True),
            )
            if into is not None and (got.new or not into.exists()):
                extract(got.path, into, progress=progress)
            finished(_facts(item, got, into), _text(got, into))
    _options.say(done, "")


def _facts(item: Download, got: Fetched, into: Path | None) -> dict[str, Any]:
    return {
        "name": item.name,
        "path": str(got.path),
        "size": got.size,
        "sha256": got.sha256,
        "verified": got.checked or None,
        "new": got.new,
        "unpacked": None if into is None else str(into),
    }


def _text(got: Fetched, into: Path | None) -> str:
    state = "" if got.new else " there already,"
    checked = f"{got.checked} verified" if got.checked else "not verified: no checksum known"
    text = (
        f"{got.path}:{state} {got.size:,} bytes, {checked}; sha256 {got.sha256} is in "
        f"{got.path.name}.sha256"
    )
    return text if into is None else f"{text}\n{into}: unpacked; {got.path.name} may be removed"

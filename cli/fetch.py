"""``seal-store fetch``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from . import _options
from ._progress import Meter

if TYPE_CHECKING:
    from seal_store.fetch.download import Download, Fetched

NAMES = ("models", "resources")


@click.command()
@click.argument("what", nargs=-1, type=click.Choice(NAMES))
@click.option("--to", "folder", type=_options.PATH, required=True, help="Folder to download to.")
@click.option(
    "--base-url",
    multiple=True,
    help="Take the files from below this https address (http for this machine only); Zenodo is "
    "not asked for anything then. Repeatable: the next one is tried where one fails.",
)
@click.option("--no-extract", is_flag=True, help="Do not unpack the archives.")
@click.option("--offline", is_flag=True, help="Only say what to download by hand, and where to.")
@click.option(
    "--retries",
    default=5,
    show_default=True,
    type=click.IntRange(0, 1_000),
    help="Failures without progress in between before giving up.",
)
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
    base_url: tuple[str, ...],
    no_extract: bool,
    offline: bool,
    retries: int,
    timeout: float,
    quiet: bool,
    as_json: bool,
) -> None:
    """Download Seal's published models and resources (both by default) and unpack them.

    Interrupted, the same command goes on where it ended. Archives that are in the folder
    already are only unpacked. Then: seal-store build --from-seal DIR --out STORE.
    """
    from seal_store.fetch.download import Patience, by_hand, downloads, prepare
    from seal_store.fetch.download import fetch as download

    chosen = [downloads()[name] for name in dict.fromkeys(what or NAMES)]
    if base_url:
        chosen = [replace(item, record=None) for item in chosen]

    def unpacked(item: Download) -> bool:
        return not no_extract and (folder / item.folder).is_dir()

    if offline:
        wanted = [d for d in chosen if not ((folder / d.file).exists() or unpacked(d))]
        facts = [
            {"name": d.name, "url": d.url, "page": d.page, "to": str(folder / d.file)}
            for d in wanted
        ]
        text = "\n".join(by_hand(d, folder) for d in wanted) or "nothing is left to download"
        click.echo(json.dumps(facts) if as_json else text)
        return
    prepare(folder)
    done = []
    with Meter(quiet=quiet) as progress:
        for item in chosen:
            if unpacked(item) and not (folder / item.file).exists():
                there = folder / item.folder
                done.append({"name": item.name, "new": False, "unpacked": str(there)})
                if not as_json:
                    click.echo(f"{there}: there already; to download it again, remove it")
                continue
            if not (folder / item.file).exists():
                click.echo(f"{item.name}: {item.holds} ({item.page})\n{item.licence}", err=True)
            got = download(
                item,
                folder,
                base_urls=base_url,
                patience=Patience(timeout=timeout, retries=retries),
                progress=progress,
                note=lambda text: click.echo(text, err=True),
            )
            into = None if no_extract else _unpack(got, folder / item.folder, progress)
            done.append(_facts(item, got, into))
            if not as_json:
                click.echo(_line(got))
                if into is not None:
                    click.echo(f"{into}: unpacked; {got.path.name} may be removed")
    if as_json:
        click.echo(json.dumps(done))


def _unpack(got: Fetched, into: Path, progress: Meter) -> Path:
    from seal_store.fetch.archive import extract

    if got.new or not into.exists():
        extract(got.path, into, progress=progress)
    return into


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


def _line(got: Fetched) -> str:
    state = "" if got.new else " there already,"
    checked = f"{got.checked} verified" if got.checked else "not verified: no checksum known"
    return (
        f"{got.path}:{state} {got.size:,} bytes, {checked}; sha256 {got.sha256} is in "
        f"{got.path.name}.sha256"
    )

"""Find the inputs of a build (genome, gene table, weights, head sets) in a folder of Seal's.

They are found by their names, wherever below the folder: so it may be Seal's own root folder, with
``resource/`` and ``model/``, or the folder that ``seal-store fetch`` unpacked both archives in.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from seal_store.common.files import resource_table
from seal_store.errors import HeadsError, InputError
from seal_store.model.heads import SUMMARY_SUFFIX, model_file

DEPTH = 5
"""How many folders deep is looked."""

NAMES: dict[str, tuple[str, ...]] = {
    "genome": ("hg19.fa", "hg19.fa.gz"),
    "genes": ("hg19_geneanno.pc.sorted.bed", "hg19_geneanno.csv"),
    "cnn": ("deepsea.beluga.pth",),
    "from_profiles": ("chromatin_tss",),
}
"""Options of ``build`` and Seal's names for them; an earlier name is preferred."""


@dataclass(frozen=True)
class SealFolder:
    """What was found; None or empty for what was given otherwise."""

    genome: Path | None = None
    genes: Path | None = None
    cnn: Path | None = None
    heads: tuple[Path, ...] = ()
    from_profiles: Path | None = None

    def facts(self) -> dict[str, list[str]]:
        """Paths by option."""
        given = {name: value for name, value in vars(self).items() if value}
        return {n: [str(p) for p in (v if n == "heads" else [v])] for n, v in given.items()}


def head_set_names() -> tuple[str, ...]:
    """The published head sets, in the order of their contexts in ``resources/contexts.tsv``."""
    return tuple(dict.fromkeys(row["head_set"] for row in resource_table("contexts")))


def locate(folder: Path, given: Collection[str] = ()) -> SealFolder:
    """Find everything that ``build`` needs below ``folder``, but for the options ``given``.

    Head sets come in the order of :func:`head_set_names`. Raises :class:`InputError` that names
    all that is missing or there several times.
    """
    if not folder.is_dir():
        raise InputError(
            f"Seal's folder not found: {folder}",
            f"check `from_seal`, or download it: seal-store fetch models resources --to {folder}",
        )
    places = _places(folder)
    summaries = [(f"{n}_seal{SUMMARY_SUFFIX}", f"{n}{SUMMARY_SUFFIX}") for n in head_set_names()]
    wanted = {option: [names] for option, names in NAMES.items()} | {"heads": summaries}
    found: dict[str, list[Path]] = {option: [] for option in wanted}
    missing: dict[str, str] = {}
    ambiguous: list[str] = []
    for option, files in wanted.items():
        for names in files if option not in given else ():
            name = next((name for name in names if name in places), None)
            if name is None:
                missing[names[0]] = "models" if option == "heads" else "resources"
                continue
            if len(places[name]) > 1:
                listed = ", ".join(str(path.relative_to(folder)) for path in places[name][:3])
                ambiguous.append(
                    f"{name} is there {len(places[name])} times ({listed}; give `{option}`)"
                )
            found[option].append(places[name][0])
    for summary in found["heads"]:
        try:
            model_file(summary, "finetune")
        except HeadsError as error:
            missing[f"the model of {summary.name} ({error})"] = "models"
    if missing or ambiguous:
        archives = sorted(set(missing.values()))
        hint = (
            f"seal-store fetch {' '.join(archives)} --to {folder}; or name them with `genome`, "
            "`genes`, `cnn`, `heads`, `from_profiles`"
        )
        problems = [f"missing: {', '.join(missing)}"] if missing else []
        raise InputError(f"{folder}: {'; '.join([*problems, *ambiguous])}", hint if missing else "")
    heads = tuple(found.pop("heads"))
    return SealFolder(heads=heads, **{option: paths[0] for option, paths in found.items() if paths})


def _places(folder: Path) -> dict[str, list[Path]]:
    """Every wanted name below ``folder`` and its places, the shallowest first.

    Hidden folders and unfinished ones are passed over; profiles are not listed one by one.
    """
    files = {name for key, names in NAMES.items() if key != "from_profiles" for name in names}
    places: dict[str, list[Path]] = {}
    for parent, folders, names in os.walk(folder):
        here = Path(parent)
        depth = len(here.relative_to(folder).parts)
        for name in NAMES["from_profiles"]:
            if name in folders:
                places.setdefault(name, []).append(here / name)
                folders.remove(name)
        folders[:] = sorted(
            name
            for name in folders
            if depth < DEPTH and not name.startswith(".") and not name.endswith(".partial")
        )
        for name in names:
            if name in files or name.endswith(SUMMARY_SUFFIX):
                places.setdefault(name, []).append(here / name)
    return {
        name: sorted(found, key=lambda path: (len(path.parts), path))
        for name, found in places.items()
    }

"""Results of few contexts with planted effects."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import numpy as np
import pytest

import seal_store
from seal_store.results.group import Results, ZarrWriter
from seal_store.scoring.rows import Rows
from seal_store.store.place import output_at
from seal_store.store.store import Store
from seal_store.synthetic import World

Make = Callable[..., Results]


@pytest.fixture(scope="session")
def scored(store: Store, world: World, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The world's variants on three contexts of two head sets."""
    names, sets = (own.tolist() for own in store.contexts())
    first, second, *_ = dict.fromkeys(sets)
    own = [f"{s}:{n}" for s, n in zip(sets, names, strict=True)]
    wanted = [*[c for c in own if c.startswith(first)][:2], next(c for c in own if second in c)]
    out = tmp_path_factory.mktemp("study") / "scored.zarr"
    seal_store.score(store, world.variants, contexts=wanted, device="cpu", out=out)
    return Results(out)


@pytest.fixture
def make(scored: Results, tmp_path: Path) -> Make:
    """Results with ``effect`` (rows, 3) and columns of one's own, else as :func:`columns`."""
    number = count()

    def results(effect: np.ndarray, **columns: object) -> Results:
        rows = len(effect)
        source = scored.rows()
        own = {name: values[np.zeros(rows, int)] for name, values in source.columns.items()}
        own["contig"] = np.full(rows, "chr1")
        own["pos"] = np.arange(rows) * 10 + 1_000
        own["ref"], own["alt"] = np.full(rows, "A"), np.full(rows, "C")
        own["dist_to_tss"] = np.full(rows, 100)
        own |= {name: np.array(values) for name, values in columns.items()}
        for name in ("ref", "alt"):
            own[name] = own[name].astype(np.dtypes.StringDType())
        attributes = scored.attributes.to_dict()
        counts = {**attributes["counts"], "alleles": rows, "alleles_scored": rows, "rows": rows}
        out = tmp_path / f"results{next(number)}.zarr"
        with output_at(out) as held:
            held.claim(overwrite=False)
            writer = ZarrWriter(held, scored.heading())
            writer.write(Rows(own, effect.astype(np.float32), lines=range(rows)))
            writer.publish({**attributes, "counts": {**counts, "not_scored": {}, "examples": {}}})
        return Results(out)

    return results


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., Path]:
    """A TSV of the given columns, of rows at 1000, 1010 ... on chr1 unless told otherwise."""
    number = count()

    def write(**columns: object) -> Path:
        length = max(len(v) for v in columns.values() if not isinstance(v, str))  # type: ignore[arg-type]
        own: dict[str, object] = {
            "chrom": ["1"] * length,
            "pos": [i * 10 + 1_000 for i in range(length)],
            "ref": ["A"] * length,
            "alt": ["C"] * length,
        }
        own |= columns
        path = tmp_path / f"table{next(number)}.tsv"
        rows = zip(*own.values(), strict=True)  # type: ignore[call-overload]
        lines = ["\t".join(own), *("\t".join(map(str, row)) for row in rows)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write

"""What an atlas knows of what is scored: SNVs whose effects are there already."""

from __future__ import annotations

from typing import Any

import numpy as np

from seal_store.atlas.entries import Entries
from seal_store.atlas.lookup import single, source
from seal_store.common.records import to_json
from seal_store.errors import InputError
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.reading import Chunk
from seal_store.store.store import Store


class Known:
    """Effects from ``atlas`` for alleles of ``store``; see :class:`seal_store.scoring.known.Known`.

    Raises :class:`~seal_store.errors.InputError` if it was made of another store, or scored
    otherwise than ``options`` say.
    """

    def __init__(self, atlas: Entries, store: Store, options: ScoreOptions) -> None:
        self.atlas = atlas
        _check(atlas, store, options)
        place = {str(gene): i for i, gene in enumerate(atlas.of_genes("gene_id").tolist())}
        self._gene = np.array([place.get(gene, -1) for gene in store.gene_id.tolist()], np.int64)
        self._place = {context: i for i, context in enumerate(atlas.contexts)}

    def effects(
        self, chunk: Chunk, contexts: list[tuple[str, str]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Rows of ``chunk`` that the atlas has, and their effects float32 ``(rows, contexts)``.

        They are SNVs whose REF is the genome's: what was exchanged or moved is computed.
        """
        keep = np.array([self._place[context] for context in contexts])
        tasks = [stretch.task for stretch in chunk.stretches]
        changes = [
            None
            if task.allele.origin is not None or task.allele.swapped
            else single(task.allele, self.atlas.attributes.scheme)
            for task in tasks
        ]
        mine = self._gene[[task.gene for task in tasks]] if tasks else np.zeros(0, np.int64)
        plain = np.array([change is not None for change in changes], bool)
        rows = np.flatnonzero(plain & chunk.columns["ref_match"] & (mine >= 0))
        kept = [change for change in (changes[i] for i in rows.tolist()) if change is not None]
        pos = np.array([change[0] for change in kept], np.int64)
        alts = "".join(change[2] for change in kept).encode("ascii")
        found = self.atlas.at(mine[rows], pos, np.frombuffer(alts, np.uint8))
        return rows[found.row], self.atlas.values(found, keep)

    def provenance(self) -> dict[str, Any]:
        """What results say of it."""
        return source(self.atlas)


def _check(atlas: Entries, store: Store, options: ScoreOptions) -> None:
    made, facts = atlas.attributes, store.attributes
    heads = {h.name: h.sha256 for h in facts.heads if not options.heads or h.name in options.heads}
    wanted = {
        "scheme": options.scheme,
        "tf32": options.tf32,
        "genome": facts.genome.sha256,
        "gene table": facts.gene_table.sha256,
        "windows": to_json(facts.grid),
        "CNN": facts.cnn.sha256,
        **{f"head set {name}": sha256 for name, sha256 in heads.items()},
    }
    own = {
        "scheme": made.scheme,
        "tf32": made.tf32,
        "genome": made.genome_sha256,
        "gene table": made.gene_table_sha256,
        "windows": to_json(made.store.grid),
        "CNN": made.store.cnn_sha256,
        **{f"head set {name}": made.store.heads.get(name) for name in heads},
    }
    if options.scheme == "centered":  # stored features count, which may be rounded or imported
        wanted["store"], own["store"] = store.sha256, made.store.sha256
    for name, value in wanted.items():
        if own[name] != value:
            raise InputError(
                f"atlas {atlas.path}: its {name} is not that of what is scored "
                f"({str(own[name])[:20]}, not {str(value)[:20]})",
                "use an atlas of this store, with the same scheme",
            )
    have = set(atlas.contexts)
    names, sets = store.contexts()
    contexts = zip(sets.tolist(), names.tolist(), strict=True)
    lacking = [c for c in contexts if c[0] in heads and c not in have]
    if lacking and not options.contexts:
        raise InputError(
            f"atlas {atlas.path}: lacks {len(lacking)} contexts, {':'.join(lacking[0])} first",
            "choose those that it has with `contexts`",
        )

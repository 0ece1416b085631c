"""A small atlas of the session's store, made once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from seal_store.atlas.atlas import Atlas
from seal_store.run.atlas import build_atlas
from seal_store.run.atlas_job import AtlasJob, Prepared
from seal_store.scoring.options import ScoreOptions
from seal_store.scoring.rows import Rows
from seal_store.scoring.saturate import saturation
from seal_store.scoring.scorer import Scorer
from seal_store.store.store import Store

CPU = ScoreOptions(device="cpu")
GENES = ("GENE02", "GENE03", "GENE05")
"""On both strands, on two contigs."""
SPAN = 12


@dataclass(frozen=True)
class Scored:
    """What scoring gives for all SNVs of a gene of the atlas."""

    rows: Rows
    columns: dict[str, np.ndarray]


@pytest.fixture(scope="session")
def job(store: Store, tmp_path_factory: pytest.TempPathFactory) -> AtlasJob:
    out = tmp_path_factory.mktemp("atlas") / "atlas.zarr"
    return AtlasJob(store.path, out, CPU, GENES, span=SPAN, genes_per_shard=2, command="tests")


@pytest.fixture(scope="session")
def atlas(job: AtlasJob) -> Atlas:
    return build_atlas(Prepared(job))


@pytest.fixture(scope="session")
def scored(store: Store) -> dict[str, Rows]:
    """All SNVs of the atlas' genes, as they are scored."""
    found = {}
    for gene in GENES:
        (rows,) = Scorer(store, CPU, gene).score(saturation(store, gene, SPAN))
        found[gene] = rows
    return found


@pytest.fixture
def own(atlas: Atlas, tmp_path: Path) -> Path:
    """A copy of the atlas that a test may damage."""
    import shutil

    return Path(shutil.copytree(atlas.path, tmp_path / "own.zarr"))

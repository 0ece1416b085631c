"""FASTA + genes -> windows -> CNN features -> decay sums -> store -> variant effects.

Seal's expression effects of genetic variants, from a precomputed feature store. From Python::

    store = seal_store.open("hg19.zarr")
    effects = seal_store.score(store, variants)  # a table, tuples, texts or a VCF -> xarray
    table = seal_store.to_frame(effects)  # -> pandas

The names below are the API; they load when they are used, so importing the package is cheap.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seal_store.api.atlas import build_atlas as build_atlas
    from seal_store.api.effects import attribute as attribute
    from seal_store.api.effects import calibrate as calibrate
    from seal_store.api.effects import saturate as saturate
    from seal_store.api.effects import score as score
    from seal_store.api.files import export as export
    from seal_store.api.heads import evaluate as evaluate
    from seal_store.api.heads import train as train
    from seal_store.api.stores import build as build
    from seal_store.api.stores import open as open
    from seal_store.api.stores import open_results as open_results
    from seal_store.api.study import burden as burden
    from seal_store.api.study import evaluate_variants as evaluate_variants
    from seal_store.api.study import loci as loci
    from seal_store.atlas.atlas import Atlas as Atlas
    from seal_store.building.options import BuildOptions as BuildOptions
    from seal_store.errors import SealStoreError as SealStoreError
    from seal_store.results.group import Results as Results
    from seal_store.results.haplotypes import Haplotypes as Haplotypes
    from seal_store.scoring.options import AttributionOptions as AttributionOptions
    from seal_store.scoring.options import ScoreOptions as ScoreOptions
    from seal_store.scoring.scorer import Scorer as Scorer
    from seal_store.store.frames import to_frame as to_frame
    from seal_store.store.store import Store as Store
    from seal_store.variants.source import read_variants as read_variants

# In a source tree cli, schemas and resources lie beside this folder, as the wheel has them inside.
if not Path(__file__).with_name("cli").is_dir():
    __path__.append(str(Path(__file__).parents[1]))

_MODULES = {
    "open": "api.stores",
    "open_results": "api.stores",
    "build": "api.stores",
    "score": "api.effects",
    "saturate": "api.effects",
    "attribute": "api.effects",
    "calibrate": "api.effects",
    "build_atlas": "api.atlas",
    "export": "api.files",
    "train": "api.heads",
    "evaluate": "api.heads",
    "evaluate_variants": "api.study",
    "loci": "api.study",
    "burden": "api.study",
    "to_frame": "store.frames",
    "read_variants": "variants.source",
    "Store": "store.store",
    "Atlas": "atlas.atlas",
    "Haplotypes": "results.haplotypes",
    "Results": "results.group",
    "Scorer": "scoring.scorer",
    "ScoreOptions": "scoring.options",
    "AttributionOptions": "scoring.options",
    "BuildOptions": "building.options",
    "SealStoreError": "errors",
}
__all__ = [*_MODULES, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("seal-store")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

"""The atlas as users have it: effects and summaries of variants, from any path or address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seal_store.atlas.bases import AtlasBases
from seal_store.atlas.entries import Entries
from seal_store.atlas.lookup import Lookup
from seal_store.common.extras import require
from seal_store.common.typed import texts
from seal_store.reference.assembly import check_variants
from seal_store.results.memory import dataset
from seal_store.variants.given import given_alleles
from seal_store.variants.source import Alleles

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr


class Atlas(Entries):
    """A finished atlas, read only: on this machine, in a bucket or on a web server.

    ``len(atlas)`` is the number of genes; ``attributes`` say what it was made from. No PyTorch is
    loaded.
    """

    def effects(self, variants: Any, *, contexts: str | Sequence[str] = ()) -> xr.Dataset:
        """Effects of those of ``variants`` that the atlas has, as :func:`seal_store.score` gives.

        ``variants`` and ``contexts`` are given as there. ``attrs["counts"]`` says which have no
        row and why: what is no SNV, what is too far from the atlas' genes, what has another REF
        than the genome. Needs the extra ``xarray``.
        """
        require("xarray", "look up from Python")
        lookup = Lookup(self, texts("contexts", contexts))
        alleles = self._given(variants)
        found = list(lookup.score(alleles))
        return dataset(lookup, found, alleles, "seal_store.Atlas.effects")

    def _given(self, variants: Any) -> Alleles:
        """Raises :class:`VariantError` for a file whose header is of another assembly."""
        alleles, made = given_alleles(variants, AtlasBases(self)), self.attributes
        if (source := alleles.source) is not None:
            header, named = source.contig_lengths, source.named_assembly
            own = made.store.assembly, made.contigs, f"the atlas {self.path}"
            source.refuse(check_variants(source.name, header, *own, named=named))
        return alleles

    def summary(self, variants: Any) -> pd.DataFrame:
        """Summaries of those of ``variants`` that the atlas has, one row an SNV and gene.

        Columns are ``contig``, ``pos`` (1-based), ``id``, ``ref``, ``alt``, ``gene_id``,
        ``gene_symbol``, ``strand``, ``dist_to_tss``, and those of :meth:`Lookup.summarized`.
        """
        import pandas as pd

        lookup = Lookup(self)
        alleles = self._given(variants)
        parts = [pd.DataFrame(columns) for columns in lookup.summarized(alleles)]
        return pd.concat(parts, ignore_index=True)

    def attributions(self, variants: Any) -> pd.DataFrame:
        """The strongest attributions of those of ``variants`` that the atlas has, one a row.

        Columns are those of :meth:`summary` that say which SNV and gene it is, and ``target_set``,
        ``target``, ``rank`` (1: the strongest), ``feature`` and ``attribution``, in
        ln(expression + pseudocount). Raises :class:`~seal_store.errors.InputError` if the atlas
        was built without.
        """
        import pandas as pd

        lookup = Lookup(self)
        alleles = self._given(variants)
        parts = [pd.DataFrame(columns) for columns in lookup.attributed(alleles)]
        return pd.concat(parts, ignore_index=True)

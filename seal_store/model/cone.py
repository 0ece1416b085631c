"""Sizes of what an allele is evaluated on, in bases: see :mod:`seal_store.model.delta`."""

BLOCK = 16
CONE_BEFORE = 304
CONE = 622
STEP = 200

BASES_AT_ONCE = 160_000
"""Bases whose activations are held at once on a CPU."""

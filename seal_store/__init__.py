"""FASTA + genes -> windows -> CNN features -> decay sums -> store -> variant effects.

Seal's expression effects of genetic variants, from a precomputed feature store.
"""

from importlib.metadata import version

__version__ = version("seal-store")

"""Alleles -> genes -> haplotypes -> evaluation -> effects and attributions."""

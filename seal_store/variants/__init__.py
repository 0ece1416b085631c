"""Variant files and notations -> records -> alleles."""

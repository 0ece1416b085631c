"""Files and notations -> records -> alleles."""

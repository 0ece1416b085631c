"""Results in other formats: TSV, Parquet, VCF, tracks."""

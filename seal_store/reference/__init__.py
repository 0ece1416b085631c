"""Genomes and gene tables: FASTA, contigs, assemblies, GTF -> genes and their TSSs."""

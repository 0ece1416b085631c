"""Which feature types of GTF and GFF3 are genes and transcripts: names of the Sequence Ontology.

Listed one by one, never told by a part of a name: a ``transcriptional_cis_regulatory_region`` is
no transcript, an ``RNAi_reagent`` no RNA of the cell. Some terms stand in both lists: Ensembl's
files have a ``pseudogene`` within a ``pseudogene``, and before release 90 genes typed ``miRNA``.
What such a feature is, its ``Parent`` decides (:mod:`seal_store.reference.gtf`).
"""

from __future__ import annotations

_PSEUDOGENES = """
    pseudogene processed_pseudogene unprocessed_pseudogene non_processed_pseudogene
    unitary_pseudogene allelic_pseudogene polymorphic_pseudogene transcribed_pseudogene
    translated_pseudogene nuclear_mt_pseudogene pseudogene_by_unequal_crossing_over
    transposable_element_pseudogene immunoglobulin_pseudogene T_cell_receptor_pseudogene
    processed_pseudogenic_rRNA pseudogenic_rRNA pseudogenic_tRNA
"""

_SEGMENTS = """
    V_gene_segment D_gene_segment J_gene_segment C_gene_segment VD_gene_segment
    VDJ_gene_segment VJ_gene_segment DJ_gene_segment
    vertebrate_immunoglobulin_T_cell_receptor_segment
    V_gene D_gene J_gene C_gene
"""

GENES = frozenset(
    f"""
    gene protein_coding_gene ncRNA_gene nuclear_gene mt_gene mitochondrial_gene plastid_gene
    transposable_element_gene predicted_gene engineered_gene foreign_gene fusion_gene
    lncRNA_gene lincRNA_gene antisense_lncRNA_gene sense_intronic_ncRNA_gene
    sense_overlap_ncRNA_gene bidirectional_promoter_lncRNA_gene
    lncRNA_with_retained_intron_gene processed_transcript_gene
    sncRNA_gene miRNA_gene piRNA_gene siRNA_gene snRNA_gene snoRNA_gene scaRNA_gene scRNA_gene
    rRNA_gene tRNA_gene tmRNA_gene gRNA_gene SRP_RNA_gene RNase_P_RNA_gene RNase_MRP_RNA_gene
    telomerase_RNA_gene vault_RNA_gene Y_RNA_gene stRNA_gene ribozyme_gene enzymatic_RNA_gene
    misc_RNA_gene RNA_gene mt_rRNA_gene mt_tRNA_gene
    immunoglobulin_gene T_cell_receptor_gene
    {_PSEUDOGENES} {_SEGMENTS}
    """.split()
)

TRANSCRIPTS = frozenset(
    f"""
    transcript primary_transcript protein_coding_primary_transcript mRNA mature_transcript
    processed_transcript unconfirmed_transcript aberrant_processed_transcript
    pseudogenic_transcript NMD_transcript NMD_transcript_variant NSD_transcript trans_spliced_mRNA
    monocistronic_mRNA polycistronic_mRNA edited_mRNA predicted_transcript mt_transcript
    RNA ncRNA nc_primary_transcript lncRNA lnc_RNA lincRNA antisense_RNA antisense_lncRNA
    sense_intronic_ncRNA sense_overlap_ncRNA bidirectional_promoter_lncRNA
    lncRNA_with_retained_intron three_prime_overlapping_ncrna intronic_lncRNA macro_lncRNA
    sncRNA miRNA pre_miRNA miRNA_primary_transcript piRNA siRNA shRNA
    snRNA U1_snRNA U2_snRNA U4_snRNA U4atac_snRNA U5_snRNA U6_snRNA U6atac_snRNA U7_snRNA
    U11_snRNA U12_snRNA snoRNA C_D_box_snoRNA H_ACA_box_snoRNA scaRNA scRNA
    rRNA rRNA_5S rRNA_5_8S rRNA_16S rRNA_18S rRNA_23S rRNA_25S rRNA_28S
    tRNA tmRNA guide_RNA SRP_RNA RNase_P_RNA RNase_MRP_RNA telomerase_RNA vault_RNA
    vaultRNA_primary_transcript Y_RNA ribozyme hammerhead_ribozyme enzymatic_RNA misc_RNA
    {_PSEUDOGENES} {_SEGMENTS}
    """.split()
)

PARTS = frozenset(("exon", "CDS"))
"""What a transcript is made of: they tell a gene of a GTF that has no line of its own."""

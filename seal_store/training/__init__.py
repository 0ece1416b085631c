"""Training head sets on expression data, and evaluating them: Seal's files in and out."""

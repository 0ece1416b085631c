"""Training head sets on expression data and evaluating them, with Seal's file formats."""

"""What knows nothing of genes or variants: progress, devices, locks, outputs."""

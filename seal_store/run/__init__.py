"""Long jobs: scores into an output, attributions, calibrations."""

"""Studies with results: are they right on known variants, credible sets, cases and controls."""

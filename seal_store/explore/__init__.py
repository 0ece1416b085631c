"""A local page for one store: genes, typed variants, saturations, results; loopback only."""

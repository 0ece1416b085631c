"""The demo's world: invented motifs, a network that sees them, variants with a known answer."""

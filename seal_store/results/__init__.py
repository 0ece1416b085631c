"""The results group: its attributes, journal and rows, and selections of them."""

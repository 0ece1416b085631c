"""The results group, and what one sees of it."""

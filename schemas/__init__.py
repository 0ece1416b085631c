"""Versioned JSON Schemas of the attributes of stores and results."""

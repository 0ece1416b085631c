"""Verify, repair and describe stores and results."""

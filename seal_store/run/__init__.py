"""Resumable jobs: scoring to an output, adding attributions, calibrating a store."""

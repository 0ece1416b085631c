"""Atomic outputs, locks, checksums, devices, prefetching, progress: used by all packages."""

"""The format: arrays as data, shards, manifest, untrusted folders -> an open store."""

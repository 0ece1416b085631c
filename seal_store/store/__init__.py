"""The store's format: arrays as data, shards, manifest, checks of an untrusted store."""

"""Plan -> shards -> finalize: a store."""

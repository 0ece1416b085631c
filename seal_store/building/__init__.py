"""Building a store: plan, compute the shards, finalize; on one machine or a cluster."""

"""A pool in memory as arrays: its slots, and the verdicts on them. Only `curate.pool` reads them."""

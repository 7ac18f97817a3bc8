"""Rows that repeat another row or a held-out text: near-duplicates, contamination, and the same in other words."""

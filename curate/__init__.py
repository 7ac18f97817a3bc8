"""Pairs in, an accepted set out: gates, duplicates, scorers, selection, the split and the dataset."""

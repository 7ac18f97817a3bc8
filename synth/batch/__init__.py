"""Batch APIs of providers: the same answers within a day, at half the price."""

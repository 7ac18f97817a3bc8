"""Receipts: what a command did, with which inputs, and with what outcome."""

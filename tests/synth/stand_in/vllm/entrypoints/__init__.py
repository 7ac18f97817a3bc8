"""Replaces vLLM's package."""

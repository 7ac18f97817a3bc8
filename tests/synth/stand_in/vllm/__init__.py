"""Takes the place of vLLM's package."""

"""Human review in Argilla: running our own server or using an existing one, the annotation task, and push and pull."""

"""Human review in Argilla: the server of our own, what is sent to it, and what people decided there."""

"""The tuned model in other forms: merged, as a GGUF, with a card and the commands that run it."""

"""An accepted set in, a tuned small model and its proof out."""

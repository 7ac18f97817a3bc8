"""Is the tuned model better? The systems of an evaluation, their answers and checks, the statistics and the verdict."""

"""Which of several good rows are kept: the best candidates of an input, and rows spread out over the texts."""

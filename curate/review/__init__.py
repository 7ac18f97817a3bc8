"""Human review: which rows reviewers see, what their answers prove about the dataset, and whether it passes."""

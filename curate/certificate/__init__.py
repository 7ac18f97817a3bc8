"""The certificate: rows accepted without review, and a lower bound on how many of them are good."""

"""Base models: the common ones, whether one suits this machine, its own code, and how it is loaded."""

"""The teachers of a project: found, opened with their ledgers, and their cost in a pilot."""

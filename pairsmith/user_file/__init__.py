"""What a file of a user contains: its encoding, columns, task and languages, and the spec that is written for it."""

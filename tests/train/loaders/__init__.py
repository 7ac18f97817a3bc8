"""Whether other trainers read our chat files as we do: `python -m tests.train.loaders ENVIRONMENTS`.

ENVIRONMENTS is a folder with a Python environment for each trainer, named after it (`ENVIRONMENTS/axolotl/bin/python`).
Every trainer that is there loads the same rows with its own loader and the config that we write; the rows, tokens and
labels that it would train on are compared with ours. Prints the table of docs/export.md.
"""

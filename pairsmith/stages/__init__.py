"""The stages as the command line wires them: each is a function of a project and its store that leaves a receipt and
returns what it came to. `pairsmith.stages.table` finds one by its name."""

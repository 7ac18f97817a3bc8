"""The stages. Each is a function of a project and its store that writes a receipt and returns its outcome.
`pairsmith.stages.table` looks one up by name."""

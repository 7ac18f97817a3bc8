"""The embedded teacher: a small causal language model in a child process that speaks the OpenAI protocol.

`process` starts it and `weights` finds its weights; those two are for the parent and import nothing heavy.
`server`, `decoder`, `model`, `rows`, `sampling` and `constrain` run in the child. `protocol` is what both agree on.
"""

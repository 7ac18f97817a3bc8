"""The embedded teacher: a small causal language model in a child process that speaks the OpenAI protocol.

`process` starts the child and `weights` locates the model weights; the parent uses only these two, and they import
nothing heavy. `server`, `decoder`, `model`, `rows`, `sampling`, `constrain` and `hub_code` run in the child. `protocol`
defines the request format that both sides share.
"""

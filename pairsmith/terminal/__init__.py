"""A command and the terminal or process around it: options, output, failures, Ctrl-C and standard input."""

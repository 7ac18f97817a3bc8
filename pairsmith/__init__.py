"""The command line of pairsmith. It holds no logic of the layers below."""

__version__ = "0.1.0"

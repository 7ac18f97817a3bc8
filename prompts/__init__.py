"""Prompt templates, one file per version, and the strict loader that renders them into chat messages."""

from prompts.library import available, load, unused
from prompts.prompt import OLD_NAMES, Prompt, compiled

__all__ = ["OLD_NAMES", "Prompt", "available", "compiled", "load", "unused"]

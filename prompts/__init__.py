"""Prompt templates, one file a version, and the strict loader that renders them into chat messages."""

from prompts.library import available, load
from prompts.prompt import Prompt

__all__ = ["Prompt", "available", "load"]

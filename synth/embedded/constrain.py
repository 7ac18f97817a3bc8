"""Decoding constrained to a JSON schema, by llguidance's token masks.

Whitespace outside strings is fixed to what `json.dumps` writes, because a very small model that is free to choose it
tends to emit spaces until it reaches its token limit. A schema without bounds (a string with no `maxLength`) can still
hit the token limit: the answer then ends with `finish_reason: "length"` and does not parse.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import llguidance
import llguidance.hf
import numpy as np
import torch

_JSON_DUMPS_SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class SchemaError(ValueError):
    """A JSON schema that decoding cannot be constrained to; the message comes from llguidance."""


class Constraint:
    """The tokens that one choice may have next. Not shared between choices: it advances with every token taken."""

    def __init__(self, matcher: llguidance.LLMatcher, vocabulary: int) -> None:
        self._matcher, self._vocabulary = matcher, vocabulary

    def allowed(self) -> torch.Tensor:
        """The allowed tokens as a bool tensor [vocabulary]; the end token is allowed where the JSON may end."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        mask = np.unpackbits(bits, bitorder="little", count=self._vocabulary)
        return torch.from_numpy(mask.view(np.bool_))

    def take(self, token: int) -> bool:
        """Advance by an allowed token; True if the JSON is now complete and nothing may follow."""
        if not self._matcher.consume_token(token):
            raise RuntimeError(f"The schema's automaton stopped: {self._matcher.get_error().splitlines()[0]}")
        return bool(self._matcher.is_stopped())


class SchemaCompiler:
    """Compiles schemas for one tokenizer. Its token trie takes about 0.3 s to build, so it is built on first use."""

    def __init__(self, tokenizer: Any, vocabulary: int, end_tokens: list[int]) -> None:
        self._tokenizer, self._vocabulary, self._end_tokens = tokenizer, vocabulary, end_tokens

    @cached_property
    def _trie(self) -> llguidance.LLTokenizer:
        return llguidance.hf.from_tokenizer(self._tokenizer, n_vocab=self._vocabulary, eos_token=self._end_tokens)

    def token_bytes(self, token: int) -> bytes:
        """The exact bytes of a token, which may end in the middle of a UTF-8 character."""
        return bytes(self._trie.decode_bytes([token]))

    def check(self, schema: dict[str, Any]) -> str:
        """The grammar of a schema. Raises SchemaError if llguidance cannot follow it."""
        grammar: str = llguidance.LLMatcher.grammar_from_json_schema(schema, overrides=_JSON_DUMPS_SPACING)
        failed, messages = llguidance.LLMatcher.validate_grammar_with_warnings(grammar, self._trie)
        if failed:
            raise SchemaError(messages[0].splitlines()[0])
        return grammar

    def start(self, grammar: str) -> Constraint:
        return Constraint(llguidance.LLMatcher(self._trie, grammar, log_level=0), self._vocabulary)

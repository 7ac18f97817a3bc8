"""Judges a choice of a chat completion: good, or bad for one reason that a user can act on.

A pure function of what the endpoint sent, so it can be repeated for every row in the ledger.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import orjson

from schemas.records import CallStatus, FinishMeaning, Json, Message
from schemas.strict_json import repeated_key
from schemas.time_limit import limited
from synth.chat.error_words import displayed_text
from synth.chat.foreign_answers import foreign_form
from synth.chat.thinking import NO_THINKING, TASK_WORDS, leading_tag, opens_with_thinking, split_thinking
from synth.question import max_answer_tokens

Violation = Callable[[Any], str | None]
_THINKING_HINT = f"went to thinking: raise max_tokens, or switch thinking off: sampling.extra = {NO_THINKING}"
NO_COMPLETION = "the answer was not a chat completion"
_STOPPED_AT_ONCE = "the answer held no text; it may begin with one of the texts in sampling.stop, as a code block does"
_REASON_TEXTS = {
    "empty": "the answer held no text",
    "truncated": "the answer hit the token limit; raise sampling.max_tokens",
    "malformed": NO_COMPLETION,
    "schema": "the answer did not match the schema",
    "refused": "the teacher refused",
    "failed": "the server gave up while it was writing",
    "thinking": f"all tokens {_THINKING_HINT}",
}
_NO_CHOICE = re.compile(r"\A\{(?=.*(\"usage\"|chat\.completion))(?!.*\"choices\": ?(\[ ?[^\] ]|\{))")
# Whitespace, control characters and what Unicode allows fonts not to render (Default_Ignorable_Code_Point) are no text.
_VISIBLE = re.compile(
    "[^\\s\0-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
# A line of several sentences, the last one without an end. Labels, tags, verse, names and many scripts never have one.
_STOPPED_BEFORE = "(?:[^\\W\\d_]{4}[.!?\u2026][\"'\u2019\u201d\u00bb)\\]]* |[\u3002\uff01\uff1f])"
_BREAKS_OFF = re.compile(rf"{_STOPPED_BEFORE}[^\n\u3002\uff01\uff1f]*[^\W\d_][,;:]?\s*\Z")
# The types of parts in a content that is a list.
_TEXT_PARTS = ("text", "output_text")
_CALL_FIELDS = ("tool_calls", "function_call")
_TOOL_CALL = "the answer was a tool call, not a text"
_KNOWN_FIELDS = frozenset(("role", "content", "refusal", "annotations", "audio", *_CALL_FIELDS))
# Fields of a message, and parts of a content, in which servers put reasoning that they have separated from the answer.
_REASONING_NAME = re.compile(r"think|thought|reasoning|analysis|\bcot\b", re.IGNORECASE)
# The finish reasons of servers and gateways, from their public references: vLLM, SGLang, TGI, llama.cpp, Ollama, LM
# Studio, OpenAI, Mistral, DeepSeek, Anthropic, Cohere, Gemini, Bedrock, watsonx, OpenRouter, xAI, GLM. Only letters and
# digits count: `max_tokens`, `MAX_TOKENS`, `max-tokens` and `MaxTokens` are the same.
_FINISH_WORDS: dict[FinishMeaning, str] = {
    "complete": """
        null none stop eos eos_token end_of_text endoftext stop_sequence word normal stop_token stop_string eos_found
        stop_string_found end_turn end_of_turn complete completed finish finished
    """,
    "truncated": """
        length max_tokens max_length model_length max_output_tokens limit error_limit model_context_window_exceeded
        context_length context_length_exceeded time_limit token_limit not_finished max_new_tokens
        max_predicted_tokens_reached context_length_reached
    """,
    "refused": """
        content_filter content_filtered safety recitation blocklist prohibited_content spii refusal sensitive
        guardrail_intervened error_toxic language image_safety image_prohibited_content blocked moderation model_armor
    """,
    "failed": """
        error insufficient_system_resource abort aborted cancelled canceled timeout network_error user_cancel load
        unload repetition other failed user_stopped model_unloaded pause_turn malformed_response
    """,
    "malformed": "malformed_model_output tool_calls tool_call tool_use function_call",
}
_NOT_A_NUMBER = "NaN happened"  # SGLang's `matched_stop` when the model's numbers broke, with finish_reason "stop"
# For words not listed above, the part that shows what went wrong. Only a complete word means a complete answer.
_WORD_PARTS: tuple[tuple[re.Pattern[str], FinishMeaning], ...] = (
    (re.compile("repetition"), "failed"),  # cut off, but with more tokens it would only continue to repeat (MiMo)
    (
        re.compile(
            "filter|safety|unsafe|policy|moderat|guardrail|prohibit|block|jailbreak|refus|reject|sensitiv|flagged"
        ),
        "refused",
    ),
    (
        re.compile("maxtoken|maxlen|completiontoken|length|token(limit|budget)|context|incomplete|truncat|maxout"),
        "truncated",
    ),
    (re.compile("error|fail|abort|cancel|interrupt|timeout|timedout|deadline|overload|preempt|disconnect"), "failed"),
    (re.compile("tool|function"), "malformed"),
)


def _normalize_word(word: str) -> str:
    return "".join(character for character in word.lower() if character.isalnum())


_MEANING: dict[str, FinishMeaning] = {"": "complete"}  # without a finish reason
_MEANING |= {_normalize_word(word): meaning for meaning, words in _FINISH_WORDS.items() for word in words.split()}


class JudgedAnswer(NamedTuple):
    """The status of an answer, its text without reasoning, and why it is bad (beginning with the status)."""

    status: CallStatus
    text: str
    reason: str


def judged(
    choice: Any, violation: Violation | None, declared: Mapping[str, FinishMeaning], request: Json, tokens: int
) -> JudgedAnswer:
    """Judge whether `choice` is a usable answer to `request`. `violation` describes how a text violates the schema,
    `declared` gives the meanings of further finish reasons, `tokens` is the answer's length (0: unknown)."""
    message = _message(choice)
    if message is None:
        return _bad("malformed", "", _describe_missing(choice))
    content = _content(message)
    if content is None:
        return _bad("malformed", "", "the content is neither text nor a list of texts")
    word = finish_word(choice)
    if word is None:
        return _bad("malformed", "", "its finish_reason is not a text")
    text, thinking, refusal = content
    meaning = _meaning_of_end(choice, word, text, violation, declared, request, tokens)
    if thinking is None and not text and meaning == "truncated":
        thinking = "not shown"  # only hidden thinking uses up all tokens and leaves no text
    text, thinking = _without_thinking(text, thinking, request)
    stop_texts = _stop_texts(request)
    ended = _end_at_stop(text, stop_texts)
    if ended is not None and _violates(text, violation):  # of whole JSON it is a part
        text, meaning = ended, "complete" if meaning == "truncated" else meaning
    if _FENCE_AT_START.match(text) and any(stop.strip() == "```" for stop in stop_texts):
        text += "\n```"  # the stop text was its end
    if refusal or meaning == "refused":
        return _bad("refused", text)
    if thinking and not text.strip() and meaning in ("complete", "truncated"):
        return _bad("thinking", "", f"{_tokens_spent(tokens, request, cut=meaning == 'truncated')} {_THINKING_HINT}")
    if meaning is None:  # without a text there is nothing to misjudge, however it ended
        status: CallStatus = "unknown_finish" if _VISIBLE.search(text) else "failed"
        held = "" if status == "unknown_finish" else "held no text and "
        return _bad(status, text, f"the answer {held}ended with finish_reason '{word}'")
    if meaning != "complete":
        reasons = {"malformed": _TOOL_CALL, "failed": f"{_REASON_TEXTS['failed']} ('{word}')"}
        return _bad(meaning, text, reasons.get(meaning, ""))
    if not _VISIBLE.search(text):
        if any(map(message.get, _CALL_FIELDS)):
            return _bad("malformed", "", _TOOL_CALL)
        return _bad("empty", text, _STOPPED_AT_ONCE if stop_texts else "")
    return _judged_text(text, violation)


def _judged_text(text: str, violation: Violation | None) -> JudgedAnswer:
    """The judgement of a complete answer, by its text alone."""
    cleaned = clean(text)
    if cleaned != text and not _VISIBLE.search(cleaned):
        return _bad("empty", text, "the answer was only quotes or a fence")
    # Servers without schema support often put the JSON into a fence, which `clean` removes.
    if violation is not None and violation(text) is not None and (broken := violation(cleaned)) is not None:
        return _bad("schema", text, f"{_REASON_TEXTS['schema']}: {broken[:300]}")
    return JudgedAnswer("ok", text, "")


def _violates(text: str, violation: Violation | None) -> bool:
    """Whether nothing shows that the text is a whole answer: it does not fit the schema, or there is none."""
    return violation is None or violation(text) is not None


def _meaning_of_end(
    choice: Json,
    word: str,
    text: str,
    violation: Violation | None,
    declared: Mapping[str, FinishMeaning],
    request: Json,
    tokens: int,
) -> FinishMeaning | None:
    """How the answer ended, by its finish reason `word`, by that of the provider behind a gateway and by its length."""
    meaning = finish_meaning(word, declared)
    if meaning == "complete" and "native_finish_reason" in choice:  # OpenRouter: of any vocabulary
        native = finish_meaning(choice["native_finish_reason"], {})
        meaning = native if native in ("truncated", "refused", "failed") else meaning
    if meaning == "complete" and tokens and (limit := max_answer_tokens(request)):
        # No finish reason; or a "stop" that gateways report for every end, while the text breaks off in a sentence.
        broke_off = tokens == limit and _BREAKS_OFF.search(text) is not None
        if tokens >= limit if not word else broke_off and _violates(text, violation):
            return "truncated"
    return meaning


def _without_thinking(text: str, thinking: str | None, request: Json) -> tuple[str, str | None]:
    """The text without a block of thinking that opens it and was not requested, and the thinking in that block or, if
    there is none, the `thinking` that the server has separated."""
    in_text = split_thinking(text)
    # Searching the whole request is expensive, and needed only if there is a block.
    if (in_text.thinking is None and in_text.answer == text) or _asks_for_thinking(request, text):
        return text, thinking
    if in_text.thinking is None:
        return in_text.answer, thinking
    return in_text.answer.strip(), in_text.thinking.strip() or thinking


def judge_or_malformed(
    choice: Any, violation: Violation | None, declared: Mapping[str, FinishMeaning], request: Json, tokens: int
) -> JudgedAnswer:
    """Like `judged`, but an exception while judging gives a malformed answer with the exception's text: a single
    unforeseen answer must not end a run that has paid for others."""
    try:
        return judged(choice, violation, declared, request, tokens)
    except Exception as error:  # schemas, patterns and references are the user's and may raise anything
        return _bad("malformed", "", f"it could not be judged: {type(error).__name__}: {str(error)[:300]}")


def finish_meaning(word: Any, declared: Mapping[str, FinishMeaning]) -> FinishMeaning | None:
    """What an answer's `finish_reason` means, None if it is unknown. Meanings declared in the spec take precedence."""
    if not declared and isinstance(word, str) and (known := _MEANING.get(word)) is not None:
        return known  # the usual case
    text = "" if word is None else str(word).strip()
    declared_meanings = {name.strip().lower(): meaning for name, meaning in declared.items()}
    normalized = _normalize_word(text)
    if text and not normalized:
        return declared_meanings.get(text.lower())
    known = declared_meanings.get(text.lower()) or _MEANING.get(normalized.removeprefix("finishreason"))
    return known or next((meaning for part, meaning in _WORD_PARTS if part.search(normalized)), None)


def why_bad(status: str, attempt: int, reason: str = "") -> str:
    """The failure text of a sample whose last answer had this status."""
    return f"{reason or f'{status}: {_REASON_TEXTS.get(status, status)}'} (attempt {attempt})"


def schema_violation(schema: Json) -> Violation:
    """Return a function that describes how a text violates `schema` (JSON Schema, the draft it names), or returns None.

    The schema is compiled at the first text. References are never fetched, so a schema must be self-contained. The
    function raises CheckTimedOut if a pattern takes too long, as `(a+)+b` may, since it would block everything else.
    """
    settings = orjson.dumps(schema).decode()
    has_patterns = '"pattern' in settings

    @cache
    def validator() -> tuple[Any, Callable[..., Any]]:
        from jsonschema.exceptions import best_match
        from jsonschema.validators import validator_for
        from referencing import Registry

        return validator_for(schema)(schema, registry=Registry()), best_match

    def violation(text: str) -> str | None:
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            return str(error) if text.lstrip()[:1] in ("{", "[", '"') else "it is text, not JSON"
        if (key := repeated_key(text)) is not None:
            return f"an object has the key '{key}' twice"
        schema_validator, best_match = validator()

        def find_worst() -> Any:
            return best_match(schema_validator.iter_errors(value))

        worst = limited("the JSON schema", settings, text[:40], find_worst) if has_patterns else find_worst()
        return None if worst is None else f"at {worst.json_path}: {worst.message}"

    return violation


_FENCE_AT_START = re.compile(r"\s*```[\w-]*\n(?!.*```)", re.DOTALL)
_FENCE = re.compile(r"```[\w-]*\n((?:(?!```).)*)```", re.DOTALL)
_QUOTES = {'"': '"', "\u201c": "\u201d", "\u00ab": "\u00bb", "\u201e": "\u201c", "'": "'"}
_SURROUNDS = frozenset(("`", *_QUOTES))


def clean(text: str) -> str:
    """The answer without surrounding whitespace, one code fence, and one pair of quotes around the whole.

    Quotes are removed only if there are none of the same kind inside, so `"a" and "b"` stays. Nothing inside changes;
    chatter before or after the answer is left for a gate to reject. The raw answer remains in the ledger.
    """
    text = text.strip()
    if not text or text[0] not in _SURROUNDS:
        return text
    if fenced := _FENCE.fullmatch(text):
        text = fenced[1].strip()
    if len(text) >= 2 and (closing := _QUOTES.get(text[0])) and text[-1] == closing:
        inside = text[1:-1]
        if text[0] not in inside and closing not in inside:
            text = inside.strip()
    return text


def _describe_missing(choice: Any) -> str:
    """Describe what came in place of a choice: the error recorded with it, else its beginning."""
    if isinstance(choice, dict) and isinstance(error := choice.get("error"), str) and "body" in choice:
        return error[:300]
    body = choice.get("body", choice) if isinstance(choice, dict) else choice
    text = body if isinstance(body, str) else json.dumps(body)
    body_text = " ".join(text.split())
    if form := foreign_form(text):
        return f"{NO_COMPLETION} but {form}: {body_text[:120]}"
    if _NO_CHOICE.search(body_text):
        return f"{NO_COMPLETION}: it has no choice, perhaps because a filter stopped it: {body_text[:120]}"
    return f"{NO_COMPLETION}: {' '.join(displayed_text(body_text).split())[:120] or 'nothing'}"


def _message(choice: Any) -> Json | None:
    """A choice's message. It may be missing after a filter, or a limit spent on hidden reasoning (Azure, Gemini)."""
    if not isinstance(choice, dict):
        return None
    message = choice.get("message")
    if message is None and choice.get("finish_reason") and choice.keys().isdisjoint(("delta", "text")):
        return {}
    return message if isinstance(message, dict) else None


def finish_word(choice: Json) -> str | None:
    """The word of a choice's finish reason, which SGLang may write as `{"type": "stop"}`, and others as a number or a
    boolean; None for a list or another object. An error next to a partial answer overrides it (OpenRouter). LiteLLM
    writes "stop" for many, and keeps the original."""
    own, reason = choice.get("provider_specific_fields"), choice.get("finish_reason")
    own = own if isinstance(own, dict) else {}
    if choice.get("error") or own.get("error") or choice.get("matched_stop") == _NOT_A_NUMBER:
        return "error"
    word = reason.get("type") if isinstance(reason, dict) else reason
    native = own.get("native_finish_reason")
    if word == "stop" and isinstance(native, str) and native and finish_meaning(native, {}) != "malformed":
        word = native  # a tool's is used for a schema
    if isinstance(word, bool | int | float):
        return str(word).lower()
    return "" if reason is None else word if isinstance(word, str) else None


@lru_cache(maxsize=256)
def _is_reasoning_name(name: str) -> bool:
    return _REASONING_NAME.search(name) is not None


def _content(message: Json) -> tuple[str, str | None, bool] | None:
    """A message's text, the reasoning that the server has separated from it (None if there is none), and whether it is
    a refusal. The content may be one part or a list of parts, including reasoning (Mistral). None if it is neither, or
    if a part with text has an unknown type."""
    thinking = None
    if not message.keys() <= _KNOWN_FIELDS:
        fields = (str(value).strip() for name, value in message.items() if value and _is_reasoning_name(name))
        thinking = next(filter(None, fields), None)
    content, refusal = message.get("content"), bool(message.get("refusal"))
    if content is None or isinstance(content, str):
        return content or "", thinking, refusal
    parts = [{"text": p} if isinstance(p, str) else p for p in (content if isinstance(content, list) else [content])]
    if not all(isinstance(part, dict) for part in parts):
        return None
    kinds = [str(part.get("type") or "text") for part in parts]
    thoughts, texts = [], []
    for kind, part in zip(kinds, parts, strict=True):
        if part.get("thought") is True or _is_reasoning_name(kind):
            thoughts.append(part)
        elif isinstance(part.get("text"), str) and kind != "refusal":
            if kind not in _TEXT_PARTS:
                return None
            texts.append(part["text"])
    refusal = refusal or "refusal" in kinds
    if parts and not (thoughts or texts or refusal):
        return None
    return "".join(texts), str(thoughts) if thoughts else thinking, refusal


def _end_at_stop(text: str, words: Sequence[str]) -> str | None:
    """`text` before the first of the request's stop texts, for servers that ignore them (mlx-vlm, oMLX) or do not
    remove them (TGI); None if it contains none. Whitespace before the answer is not part of it."""
    body = text.lstrip()
    places = [place for word in words if word and (place := body.find(word)) >= 0]
    return body[: min(places)] if places else None


def _stop_texts(request: Json) -> Sequence[str]:
    stop = request.get("stop") or ()
    return [stop] if isinstance(stop, str) else stop


def _asks_for_thinking(request: Json, text: str) -> bool:
    """Whether the block at the beginning of `text` was requested: a worked example in the request begins with such a
    block, or the request contains this pair of tags and they are not a model's own."""
    messages: Sequence[Json | Message] = request.get("messages", ())
    chat = [(m.get("role"), str(m.get("content"))) for m in messages if isinstance(m, dict)]
    if any(role == "assistant" and opens_with_thinking(content) for role, content in chat):
        return True
    tag = leading_tag(text)
    if tag is None:
        return False
    marks = (tag,) if tag in TASK_WORDS else (f"<{tag}>", f"</{tag}>")
    return any(all(mark in content.lower() for mark in marks) for _, content in chat)


def _tokens_spent(tokens: int, request: Json, *, cut: bool) -> str:
    count = tokens or (max_answer_tokens(request) if cut else None)
    return f"all {count} tokens" if count else "all tokens"


def _bad(status: CallStatus, text: str, why: str = "") -> JudgedAnswer:
    return JudgedAnswer(status, text, f"{status}: {why or _REASON_TEXTS[status]}")

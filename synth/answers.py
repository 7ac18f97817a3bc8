"""What a choice of a chat completion is worth: good, or bad for one reason that a person can act on.

A pure function of what the endpoint sent, so it can be asked again of every row in the ledger.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import cache, lru_cache
from typing import Any, NamedTuple

import orjson

from schemas.errors import TeacherError
from schemas.records import Call, CallStatus, FinishMeaning, Json, Message, content_id
from schemas.time_limit import limited
from synth.endpoint import Endpoint
from synth.error_words import shown_of
from synth.question import Question, limit_of
from synth.thinking import NO_THINKING, WORDS_OF_TASKS, leading_tag, opens_with_thinking, parted

Violation = Callable[[Any], str | None]
# So many questions in a row whose answers are nothing but thinking end a run: the others would be paid for in vain.
# At the beginning few tell it; where half of all answers think, eight in a row meet 1 run in 256, twenty none.
_THINKING_FIRST, _THINKING_LATER = 8, 20
# So many answers, none of them usable, end a run that has none yet: too low a max_tokens, or a server that is another
# one, would cost every row its attempts. Where one answer in seven is good, 1 run in 20 begins like this; none does
# where one in three is.
_UNUSABLE_FIRST = 20

_SWITCH = f"went to thinking: raise max_tokens, or switch thinking off: sampling.extra = {NO_THINKING}"
NO_COMPLETION = "the answer was no chat completion"
_WHY = {
    "empty": "the answer held no text",
    "truncated": "the answer hit the token limit; raise sampling.max_tokens",
    "malformed": NO_COMPLETION,
    "schema": "the answer did not match the schema",
    "refused": "the teacher refused",
    "failed": "the server gave up while it was writing",
    "thinking": f"all tokens {_SWITCH}",
}
_NO_CHOICE = re.compile(r"\A\{(?=.*(\"usage\"|chat\.completion))(?!.*\"choices\": ?(\[ ?[^\] ]|\{))")
# Blanks, control characters, and what Unicode lets a font leave out (Default_Ignorable_Code_Point), are no text.
_VISIBLE = re.compile(
    "[^\\s\0-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
    "\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U000e0000-\U000e0fff]"
)
# A line of several sentences whose last one has no end: labels, tags, verse, names and many scripts never have one.
_STOPPED_BEFORE = "(?:[^\\W\\d_]{4}[.!?\u2026][\"'\u2019\u201d\u00bb)\\]]* |[\u3002\uff01\uff1f])"
_BREAKS_OFF = re.compile(rf"{_STOPPED_BEFORE}[^\n\u3002\uff01\uff1f]*[^\W\d_][,;:]?\s*\Z")
# How they call the parts of a content that is a list.
_TEXT_PARTS = ("text", "output_text")
_CALLS = ("tool_calls", "function_call")
_TOOL = "the answer was the call of a tool, not a text"
_USUAL = frozenset(("role", "content", "refusal", "annotations", "audio", *_CALLS))
# Fields of a message, and parts of a content, in which servers put reasoning that they have parted from the answer.
_THOUGHT = re.compile(r"think|thought|reasoning|analysis|\bcot\b", re.IGNORECASE)
# How servers and gateways say why an answer ended: vLLM, SGLang, TGI, llama.cpp, Ollama, LM Studio, OpenAI, Mistral,
# DeepSeek, Anthropic, Cohere, Gemini, Bedrock, watsonx, OpenRouter, xAI, GLM as their public references list them. Only
# letters and digits count: `max_tokens`, `MAX_TOKENS`, `max-tokens` and `MaxTokens` are one word.
_WORDS: dict[FinishMeaning, str] = {
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
        guardrail_intervened error_toxic language image_safety image_prohibited_content blocked moderation
    """,
    "failed": """
        error insufficient_system_resource abort aborted cancelled canceled timeout network_error user_cancel load
        unload repetition other failed user_stopped model_unloaded pause_turn malformed_response
    """,
    "malformed": """
        malformed_model_output malformed_tool_use unexpected_tool_call tool_calls tool_call tool_use function_call
        malformed_function_call
    """,
}
# Words that no list has, by the part that says what went wrong. That an answer is whole is told by a whole word only.
_PARTS: tuple[tuple[re.Pattern[str], FinishMeaning], ...] = (
    (re.compile("repetition"), "failed"),  # cut, but with more tokens it would go on repeating (MiMo)
    (re.compile("filter|safety|unsafe|policy|moderat|guardrail|prohibit|block|jailbreak|refus|reject"), "refused"),
    (re.compile("maxtoken|maxlen|completiontoken|length|tokenlimit|context|incomplete|truncat|maxout"), "truncated"),
    (re.compile("error|fail|abort|cancel|interrupt|timeout|timedout|deadline|overload|preempt|disconnect"), "failed"),
    (re.compile("tool|function"), "malformed"),
)


def _letters(word: str) -> str:
    return "".join(character for character in word.lower() if character.isalnum())


_MEANING: dict[str, FinishMeaning] = {"": "complete"}  # nobody says how it ended
_MEANING |= {_letters(word): meaning for meaning, words in _WORDS.items() for word in words.split()}


class JudgedAnswer(NamedTuple):
    """The status of an answer, its text without any reasoning, and why it is bad (it begins with the status)."""

    status: CallStatus
    text: str
    reason: str


def judged(
    choice: Any, violation: Violation | None, declared: Mapping[str, FinishMeaning], request: Json, tokens: int
) -> JudgedAnswer:
    """Whether `choice` is a usable answer to `request`. `violation` tells what in a text breaks the schema, `declared`
    what further finish reasons mean, `tokens` how many it took (0: unknown)."""
    message = _message(choice)
    if message is None:
        return _bad("malformed", "", _no_answer(choice))
    content = _content(message)
    if content is None:
        return _bad("malformed", "", "the content is neither text nor a list of texts")
    word = _word(choice.get("finish_reason"))
    if word is None:
        return _bad("malformed", "", "its finish_reason is no text")
    if choice.get("error"):  # said beside half an answer, whatever else is said (OpenRouter)
        word = "error"
    text, thought, refusal = content
    meaning = finish_meaning(word, declared)
    if meaning == "complete" and "native_finish_reason" in choice:  # what stands behind a gateway's word (OpenRouter)
        native = finish_meaning(choice["native_finish_reason"], {})
        meaning = native if native in ("truncated", "refused", "failed") else meaning
    if meaning == "complete" and tokens and (limit := limit_of(request)):
        # Nobody said that it had ended; or who calls every end a stop, as gateways do, and it breaks off in a sentence.
        broke_off = tokens == limit and _BREAKS_OFF.search(text) is not None
        if tokens >= limit if not word else broke_off and (violation is None or violation(text) is not None):
            meaning = "truncated"
    if thought is None and not text and meaning == "truncated":
        thought = "not shown"  # nothing else takes all tokens and leaves no text
    in_text = parted(text)
    # To look through the whole request is dear, and needed only where a block was found.
    if (in_text.thinking is not None or in_text.answer != text) and not _asks_for_thinking(request, text):
        text = in_text.answer if in_text.thinking is None else in_text.answer.strip()
        thought = (in_text.thinking or "").strip() or thought
    if refusal or meaning == "refused":
        return _bad("refused", text)
    if thought and not text.strip() and meaning in ("complete", "truncated"):
        return _bad("thinking", "", f"{_spent(tokens, request, cut=meaning == 'truncated')} {_SWITCH}")
    if meaning is None:
        return _bad("unknown_finish", text, f"the answer ended with finish_reason '{word}'")
    if meaning != "complete":
        reasons = {"malformed": _TOOL, "failed": f"{_WHY['failed']} ('{word}')"}
        return _bad(meaning, text, reasons.get(meaning, ""))
    if not _VISIBLE.search(text):
        return _bad("malformed", "", _TOOL) if any(map(message.get, _CALLS)) else _bad("empty", text)
    if not _VISIBLE.search(clean(text)):
        return _bad("empty", text, "the answer was only quotes or a fence")
    # Servers that take no schema often put the JSON into a fence, which cleaning takes off.
    if violation is not None and (broken := violation(text)) is not None and violation(clean(text)) is not None:
        return _bad("schema", text, f"{_WHY['schema']}: {broken[:300]}")
    return JudgedAnswer("ok", text, "")


def judged_or_malformed(
    choice: Any, violation: Violation | None, declared: Mapping[str, FinishMeaning], request: Json, tokens: int
) -> JudgedAnswer:
    """`judged`, and where judging itself fails, a malformed answer with what was raised: one answer that nobody
    foresaw must not end a run that has paid for others."""
    try:
        return judged(choice, violation, declared, request, tokens)
    except Exception as error:  # schemas, patterns and references are the user's; anything may come out of them
        return _bad("malformed", "", f"it could not be judged: {type(error).__name__}: {str(error)[:300]}")


class AnswerJudge:
    """Judges the answers of one run, and ends it where every further answer would be paid for in vain; one that was
    `tried` before, with good answers, only where they are all thinking."""

    def __init__(
        self,
        declared: Mapping[str, FinishMeaning],
        endpoint: Endpoint,
        *,
        keep_asking: bool = False,
        tried: bool = False,
    ) -> None:
        self._declared, self._endpoint = declared, endpoint
        self._violations: dict[str, Violation] = {}
        self._keep_asking, self._tried = keep_asking, tried
        self._thinking_in_a_row = self._unusable_in_a_row = 0
        self._answered = False

    def judged(self, call: Call, question: Question) -> Call:
        """The row with what judging says of it now."""
        violation, schema = None, question.judged_by
        if schema is not None:
            violation = self._violations.setdefault(content_id("schema", schema), schema_violation(schema))
        if violation is not None and question.refused is not None:
            violation = _either(violation, question.refused)
        alone = call.request.get("n", 1) == 1 or call.facts.get("choices") == 1
        tokens = call.usage.completion_tokens if alone else 0
        verdict = judged_or_malformed(call.raw, violation, self._declared, call.request, tokens)
        return call.model_copy(update={"status": verdict.status, "text": verdict.text, "reason": verdict.reason})

    def are_good(self, calls: Sequence[Call]) -> bool:
        """Whether all answers to one question are good, as nearly always; if so it is noted."""
        for call in calls:
            if call.status != "ok":
                return False
        self._answered, self._thinking_in_a_row = True, 0
        return True

    def stop_at_useless(self, calls: Sequence[Call]) -> None:
        """Raise what the answers to one question amount to with those before them, if every further one would be paid
        for in vain."""
        if self.are_good(calls):
            return
        self.stop_at_unknown(calls)
        self._stop_at_thinking(calls)
        self._stop_at_unusable(calls)

    def stop_at_unknown(self, calls: Sequence[Call]) -> None:
        """Raise what a finish reason that nobody knows amounts to."""
        if (call := next((call for call in calls if call.status == "unknown_finish"), None)) is None:
            return
        word = call.raw.get("finish_reason")
        raise TeacherError(
            f"An answer ended with finish_reason '{word}', which pairsmith does not know.",
            where=self._endpoint.url,
            why="It may have been cut or refused, so it is kept, not bought again, and not used.",
            fix=f'If it means a complete answer, add teacher.finish_reasons = ["{word}"] to the spec; if not, '
            f'teacher.finish_reasons = {{ "{word}" = "truncated" }} (or "refused", "failed").',
        )

    def _stop_at_thinking(self, calls: Sequence[Call]) -> None:
        """Raise once the answers to several questions in a row are nothing but thinking; `calls` answer one of them."""
        written = [call for call in calls if call.status != "refused"]
        if not written or self._keep_asking:
            return
        if any(call.status != "thinking" for call in written):
            self._thinking_in_a_row = 0
            self._answered = self._answered or any(call.status == "ok" for call in written)
            return
        self._thinking_in_a_row += 1
        if self._thinking_in_a_row >= (_THINKING_LATER if self._answered else _THINKING_FIRST):
            raise TeacherError(
                f"The answers to {self._thinking_in_a_row} questions in a row hold no text ({written[-1].reason}).",
                where=self._endpoint.url,
                why="Every answer would be paid for in vain.",
            )

    def _stop_at_unusable(self, calls: Sequence[Call]) -> None:
        """Raise once so many answers came, and none that could be used."""
        self._answered = self._answered or any(call.status == "ok" for call in calls)
        if self._answered or self._tried or self._keep_asking or any(call.status == "unsettled" for call in calls):
            return
        self._unusable_in_a_row += 1
        if self._unusable_in_a_row >= _UNUSABLE_FIRST:
            last = calls[-1]
            raise TeacherError(
                f"None of the first {_UNUSABLE_FIRST} answers can be used; the last: {last.reason.rstrip('.')}.",
                where=self._endpoint.url,
                why="Every answer would be paid for in vain.",
                fix="Mend what it says, then run the same command again, with --retry-failed where nothing that is "
                "sent has changed; `pairsmith rows --state failed` lists them.",
            )


def finish_meaning(word: Any, declared: Mapping[str, FinishMeaning]) -> FinishMeaning | None:
    """What an answer's `finish_reason` says of it, or None if nobody knows. What the spec declares comes first."""
    if not declared and isinstance(word, str) and (known := _MEANING.get(word)) is not None:
        return known  # nearly always
    text = "" if word is None else str(word).strip()
    own = {name.strip().lower(): meaning for name, meaning in declared.items()}
    letters = _letters(text)
    if text and not letters:
        return own.get(text.lower())
    known = own.get(text.lower()) or _MEANING.get(letters.removeprefix("finishreason"))
    return known or next((meaning for part, meaning in _PARTS if part.search(letters)), None)


def why_bad(status: str, attempt: int, reason: str = "") -> str:
    """The failure of a sample whose last answer had this status."""
    return f"{reason or f'{status}: {_WHY.get(status, status)}'} (attempt {attempt})"


def schema_violation(schema: Json) -> Violation:
    """A function that tells what in a text breaks `schema` (JSON Schema, the draft it names), or None.

    Nothing is read before the first text comes, and no reference is fetched from anywhere: a schema is whole. Raises
    TookTooLong where a pattern in it takes too long, as `(a+)+b` may: nothing else would run meanwhile.
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
            return str(error)
        with limited("the JSON schema", settings, text[:40]) if has_patterns else nullcontext():
            of_schema, best_match = validator()
            worst = best_match(of_schema.iter_errors(value))
        return None if worst is None else f"at {worst.json_path}: {worst.message}"

    return violation


def _either(first: Violation, second: Violation) -> Violation:
    return lambda text: first(text) or second(text)


_FENCE = re.compile(r"```[\w-]*\n((?:(?!```).)*)```", re.DOTALL)
_QUOTES = {'"': '"', "\u201c": "\u201d", "\u00ab": "\u00bb", "\u201e": "\u201c", "'": "'"}


_SURROUNDS = frozenset(("`", *_QUOTES))


def clean(text: str) -> str:
    """The answer without what surrounds it: outer blanks, one code fence, one pair of quotes around the whole.

    Quotes go only if none of the same kind is inside, so `"a" and "b"` stays. Nothing inside is changed; chatter
    before or after the answer is left for a gate to reject. The raw answer stays in the ledger.
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


def _no_answer(choice: Any) -> str:
    """What came in place of a choice: what was found wrong with it, else its beginning."""
    if isinstance(choice, dict) and isinstance(error := choice.get("error"), str) and "body" in choice:
        return error[:300]
    body = choice.get("body", choice) if isinstance(choice, dict) else choice
    came = " ".join((body if isinstance(body, str) else json.dumps(body)).split())
    if _NO_CHOICE.search(came):
        return f"{NO_COMPLETION}: it holds no choice, as where a filter stopped it: {came[:120]}"
    return f"{NO_COMPLETION}: {' '.join(shown_of(came).split())[:120] or 'nothing'}"


def _message(choice: Any) -> Json | None:
    """A choice's message. A filter, or a limit that was spent on hidden reasoning, may leave none (Azure, Gemini)."""
    if not isinstance(choice, dict):
        return None
    message = choice.get("message")
    if message is None and choice.get("finish_reason") and choice.keys().isdisjoint(("delta", "text")):
        return {}
    return message if isinstance(message, dict) else None


def _word(finish_reason: Any) -> str | None:
    """The word of a finish reason, which SGLang may write as `{"type": "stop"}`; None for anything else."""
    word = finish_reason.get("type") if isinstance(finish_reason, dict) else finish_reason
    return "" if finish_reason is None else word if isinstance(word, str) else None


@lru_cache(maxsize=256)
def _is_of_thought(name: str) -> bool:
    return _THOUGHT.search(name) is not None


def _content(message: Json) -> tuple[str, str | None, bool] | None:
    """A message's text, the reasoning that the server has parted from it (None if there is none), and whether it is a
    refusal. The content may be one part or a list of them, reasoning among them (Mistral). None for what is neither,
    and for text in a part of a kind that nobody knows."""
    thought = None
    if not message.keys() <= _USUAL:
        fields = (str(value).strip() for name, value in message.items() if value and _is_of_thought(name))
        thought = next(filter(None, fields), None)
    content, refusal = message.get("content"), bool(message.get("refusal"))
    if content is None or isinstance(content, str):
        return content or "", thought, refusal
    parts = [{"text": p} if isinstance(p, str) else p for p in (content if isinstance(content, list) else [content])]
    if not all(isinstance(part, dict) for part in parts):
        return None
    kinds = [str(part.get("type") or "text") for part in parts]
    thoughts, texts = [], []
    for kind, part in zip(kinds, parts, strict=True):
        if part.get("thought") is True or _is_of_thought(kind):
            thoughts.append(part)
        elif isinstance(part.get("text"), str) and kind != "refusal":
            if kind not in _TEXT_PARTS:
                return None
            texts.append(part["text"])
    refusal = refusal or "refusal" in kinds
    if parts and not (thoughts or texts or refusal):
        return None
    return "".join(texts), str(thoughts) if thoughts else thought, refusal


def _asks_for_thinking(request: Json, text: str) -> bool:
    """Whether the block at the beginning of `text` is part of what is asked for: a worked example in the request begins
    with one, or the request writes this very pair of tags, and they are no model's own."""
    messages: Sequence[Json | Message] = request.get("messages", ())
    chat = [(m.get("role"), str(m.get("content"))) for m in messages if isinstance(m, dict)]
    if any(role == "assistant" and opens_with_thinking(content) for role, content in chat):
        return True
    tag = leading_tag(text)
    if tag is None:
        return False
    marks = (tag,) if tag in WORDS_OF_TASKS else (f"<{tag}>", f"</{tag}>")
    return any(all(mark in content.lower() for mark in marks) for _, content in chat)


def _spent(tokens: int, request: Json, *, cut: bool) -> str:
    count = tokens or (limit_of(request) if cut else None)
    return f"all {count} tokens" if count else "all tokens"


def _bad(status: CallStatus, text: str, why: str = "") -> JudgedAnswer:
    return JudgedAnswer(status, text, f"{status}: {why or _WHY[status]}")

"""Separates a thinking model's reasoning from its answer if the server has left both in one text.

Servers that parse the reasoning return it in a separate field (`reasoning`, `reasoning_content`). Others leave it
before the answer, in the tags of the model's chat template, or with the closing tag only, if the template itself opens
the block (DeepSeek-R1, Qwen3.5).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import NamedTuple

# The settings in a sampling table's `extra` that disable thinking, by server.
NO_THINKING = (
    "{ chat_template_kwargs = { enable_thinking = false } } (vLLM, SGLang), "
    '{ reasoning_effort = "none" } (Ollama, OpenAI, Mistral), { reasoning = { effort = "none" } } (OpenRouter), '
    'or { thinking = { type = "disabled" } } (DeepSeek, Moonshot, Z.ai, Anthropic)'
)

# The models' own tags (Seed and LongCat prefix their name), and words for a block that a task may request as well.
_NAME_PREFIX = "[a-z]{2,9}[:_]"
_OWN_TAGS = ("think", f"{_NAME_PREFIX}think(?:ing)?", "antthinking")
_WORD_TAGS = ("thinking", "reasoning", "thought")
# Words that models were also told to reason in. A task may just as well request them, so they count only if they are
# closed, an answer follows, and the request does not contain the word.
TASK_WORDS = (
    *("reason", "thoughts", "analysis", "reflection", "scratchpad", "scratch_pad", "monologue", "inner_monologue"),
    *("reasoning_content", "thought_process", "chain_of_thought", "cot", "思考", "推理"),
)
_MARK = "(?:think|thinking|thought|reasoning)"
# <think> may be closed by </thinking>, or with a space in the tag: models sometimes write both themselves.
_END_OF_THINK = rf"<\s?/\s?(?:{_NAME_PREFIX}|ant)?think(?:ing)?\s*>"
# Whitespace, and a turn header that a server with another template has left there.
_START = r"[\s\ufeff\u200b]*(?:<\|(?:im_start|start_header_id)\|>assistant(?:<\|end_header_id\|>)?\s*)?"
# Opening and closing mark of a reasoning block before an answer, by model family.
_BLOCKS = tuple(
    (re.compile(_START + opening, re.IGNORECASE), re.compile(closing, re.IGNORECASE))
    for opening, closing in (
        (r"<think(?:ing)?\s*/>", ""),  # an empty block
        *((rf"<\s?{tag}(?:\s[^<>\n]*)?>", _END_OF_THINK) for tag in (*_OWN_TAGS, "thinking")),
        # A code fence with that name, closed before an answer.
        (rf"```{_MARK}[ \t]*\n(?=(?:(?!```)[\s\S])*\n```[ \t]*\n\s*\S)", r"\n```[ \t]*\n"),
        *((rf"<{tag}(?:\s[^<>\n]*)?>", rf"</{tag}\s*>") for tag in _WORD_TAGS if tag != "thinking"),
        (r"\[THINK\]", r"\[/THINK\]"),
        # begin_of_thought, think, Cohere's START_THINKING
        (
            rf"<\|(?:begin_of_|start_of_|start_)?{_MARK}(?:_start)?\|>",
            rf"<\|(?:/|end_of_|end_){_MARK}\|>|<\|{_MARK}_end\|>",
        ),
        ("◁think▷", "◁/think▷"),
        (r"\[unused16\]", r"\[unused17\]"),  # openPangu
        (r"<\|channel>thought\b", r"<channel\|>"),  # Gemma 4
        (r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),  # Apertus
        (r"<unused94>thought\b", "<unused95>"),  # MedGemma
        (r"<details type=\"reasoning\"[^<>\n]*>", "</details>"),  # Open WebUI
        (r"thinking\.\.\.\n(?=[\s\S]*\n\.\.\.done thinking\.)", r"\n\.\.\.done thinking\."),  # Ollama's terminal
        *((rf"<{word}>(?=[\s\S]*</{word}>\s*\S)", f"</{word}>") for word in TASK_WORDS),
        # Granite 3.2: ordinary words, so both phrases must be present.
        (r"here(?:'s| is) my thought process:(?=[\s\S]*here(?:'s| is) my response:)", "here(?:'s| is) my response:"),
        (r"here are my reasoning steps:(?=[\s\S]*\[BEGIN FINAL RESPONSE\])", r"\[BEGIN FINAL RESPONSE\]"),  # Apriel
    )
)
_UNOPENED_CLOSING = re.compile(
    rf"</(?:{_NAME_PREFIX})?think(?:ing)?\s*>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<channel\|>|<\|inner_suffix\|>"
    r"|\[BEGIN FINAL RESPONSE\]",
    re.IGNORECASE,
)
_OPENING = re.compile(rf"<(?:{_NAME_PREFIX})?think(?:ing)?\b[^<>\n]*>|\[THINK\]|◁think▷", re.IGNORECASE)
_OPENING_LINE = re.compile(rf"^[ \t>]*(?:{_OPENING.pattern})", re.IGNORECASE | re.MULTILINE)
_FENCE_LINE = re.compile(r"^[ \t>]*```", re.MULTILINE)
_OPEN_QUOTE = re.compile(r"(?:^|[\s(\[{=,:])[rbfu]{0,2}(?P<quote>[\"'])(?:(?!(?P=quote)).)*\Z")
_MAX_LINE_PART = 300  # characters of a line that are enough to interpret a tag in it
# Nearly all answers contain none of the characters <, [ and ◁, nor these words, and so none of the marks above.
_BARE_FINAL = "assistantfinal"
_WORDS = re.compile(f"{_START}(?:here|thinking\\.|```)", re.IGNORECASE)
# Marks that some of them put around the answer that follows.
_WRAPPED = re.compile(
    r"\s*<\|(?P<mark>START_RESPONSE|START_TEXT|begin_of_solution|begin_of_box)\|>(?P<answer>.*?)"
    r"(?:<\|(?:END_RESPONSE|END_TEXT|end_of_solution|end_of_box)\|>\s*)?\Z",
    re.DOTALL,
)
# The same in words that a task may request, so they are removed only after reasoning (Hunyuan, ERNIE, Reflection, and
# most models that were trained to reason with such a prompt).
_TAGGED = re.compile(
    r"\s*<(?P<tag>answer|response|output|solution|final|final_answer)>(?P<answer>(?:(?!</?(?P=tag)>).)*)(?:</(?P=tag)>\s*)?\Z",
    re.DOTALL | re.IGNORECASE,
)
_ENDED = re.compile(r"(?P<answer>.*)\[END FINAL RESPONSE\]\s*\Z", re.DOTALL)
# The harmony format (gpt-oss): every message names its channel, and `final` is the answer.
_HARMONY = re.compile(r"\s*(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)\b", re.IGNORECASE)
_HARMONY_FINAL = re.compile(
    r"(?:<\|start\|>assistant)?<\|channel\|>final\s*(?:<\|constrain\|>)?[^<]*<\|message\|>", re.IGNORECASE
)
_HARMONY_END = re.compile(r"<\|(?:return|end)\|>\s*\Z")


class SplitAnswer(NamedTuple):
    """The reasoning (None if there is none) and the remaining text as the answer."""

    thinking: str | None
    answer: str


def split_thinking(text: str) -> SplitAnswer:
    """Remove the reasoning before the answer from `text`.

    Only blocks at the very beginning count, several if they follow each other. A block that is never closed is all
    reasoning. A closing tag without an opening one ends a block that the chat template opened, or one in which the tag
    was mentioned, unless it is quoted, in code, or inside a sentence. Tags in the middle of an answer stay.
    """
    # Unrolled, because a generator takes three times as long.
    if not ("<" in text or "[" in text or "◁" in text or _BARE_FINAL in text or _WORDS.match(text)):
        return SplitAnswer(None, text)
    if (harmony := _split_harmony(text)) is not None:
        return harmony
    blocks: list[str] = []
    fences = [fence.start() for fence in _FENCE_LINE.finditer(text)]
    opening_lines = [opening.start() for opening in _OPENING_LINE.finditer(text)]
    at = 0
    while True:
        start = at
        if (opened := _match_opening(text, at)) is not None:
            start, closing = opened
            closed = closing.search(text, start)
            if closed is None:
                return SplitAnswer("\n".join((*blocks, text[start:])), "")
        else:
            closed = _find_closing(text, at, fences, opening_lines)
            if closed is None:
                break
        blocks.append(text[start : closed.start()])
        at = closed.end()
    if wrapped := _WRAPPED.match(text, at) or (blocks and (_TAGGED.match(text, at) or _ENDED.match(text, at))):
        return SplitAnswer("\n".join(blocks), wrapped["answer"])
    return SplitAnswer("\n".join(blocks) if blocks else None, text[at:])


def leading_tag(text: str) -> str | None:
    """The tag that `text` begins with, if it is a word that a task may request and not a model's own tag."""
    tag = re.match(rf"\s*<({'|'.join((*_WORD_TAGS, *TASK_WORDS))})>", text, re.IGNORECASE)
    return tag[1].lower() if tag else None


def opens_with_thinking(text: str) -> bool:
    """Whether `text` begins with a reasoning mark. A worked example that does requests reasoning."""
    return _match_opening(text) is not None or _HARMONY.match(text) is not None


def _match_opening(text: str, at: int = 0) -> tuple[int, re.Pattern[str]] | None:
    """For a block that begins at `at`: where its content begins, and the pattern that closes it."""
    return next(((m.end(), closing) for opening, closing in _BLOCKS if (m := opening.match(text, at))), None)


def _split_harmony(text: str) -> SplitAnswer | None:
    if final := _HARMONY_FINAL.match(text.lstrip()):
        return SplitAnswer(None, _HARMONY_END.sub("", text.lstrip()[final.end() :]))
    if not _HARMONY.match(text):
        return _split_bare_harmony(text)
    final = _HARMONY_FINAL.search(text)
    if final is None:
        return SplitAnswer(text, "")
    return SplitAnswer(text[: final.start()], _HARMONY_END.sub("", text[final.end() :]))


def _split_bare_harmony(text: str) -> SplitAnswer | None:
    """The answer in harmony format whose marks the server has removed ("analysisThey want ...assistantfinalA dog."):
    no prose joins these two words to the end of a sentence."""
    thinking, final, answer = text.partition(_BARE_FINAL)
    is_joined = thinking.lstrip().startswith("analysis") or not thinking.strip() or thinking[-1] in ".!?)\n\u2026\u3002"
    is_code = thinking.count("`") % 2 == 1
    is_split = final and answer.strip() and is_joined and not is_code
    return SplitAnswer(thinking.strip() or None, answer) if is_split else None


def _find_closing(text: str, at: int, fences: list[int], opening_lines: list[int]) -> re.Match[str] | None:
    """The first closing tag from `at` on that ends a block without an opening tag; None if there is none. `fences` and
    `opening_lines` are the positions of lines that begin with a fence and with an opening tag."""
    until = next((place for place in opening_lines if place >= at), len(text))
    for closed in _UNOPENED_CLOSING.finditer(text, at, until):
        before = bisect_left(fences, closed.start()) - bisect_left(fences, at)
        after = len(fences) - bisect_left(fences, closed.start())
        if not (before % 2 and after % 2) and _closes_block(text, at, closed):
            return closed
    return None


def _closes_block(text: str, at: int, closed: re.Match[str]) -> bool:
    """Whether a closing tag ends a block, rather than being mentioned, judged by its line."""
    begin = max(at, text.rfind("\n", at, closed.start()) + 1, closed.start() - _MAX_LINE_PART)
    line, after = text[begin : closed.start()], text[closed.end() : closed.end() + _MAX_LINE_PART]
    rest_of_line = after.partition("\n")[0]
    if not line.strip():
        return not line.startswith(("    ", "\t"))  # indented code
    if _OPENING.search(line) or line.count("`") % 2:
        return False
    if (opened := _OPEN_QUOTE.search(line)) and opened["quote"] in rest_of_line:
        return False
    # "The tag </think> closes it" and "'</think>'" mention the tag; "I see.</think>A dog" and "see. </think> A" end.
    ends_a_sentence = line.rstrip()[-1] in ".!?:;)\u3002\uff01\uff1f\u2026"
    if not rest_of_line.strip():
        wrapped_prose = line[-1].isspace() and not ends_a_sentence and after.strip() and not after.startswith("\n\n")
        return not wrapped_prose
    return ends_a_sentence or not (line[-1].isspace() or line[-1] in "\"'([{<\u201c\u00ab")

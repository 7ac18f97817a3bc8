"""Parts a thinking model's reasoning from its answer, where the server has left both in one text.

Servers that parse the reasoning put it into a field of its own (`reasoning`, `reasoning_content`). Others leave it in
front of the answer, in the tags of the model's chat template, or only with the closing tag, where the template itself
opens the block (DeepSeek-R1, Qwen3.5).
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import NamedTuple

# What a sampling table's `extra` is to hold where a model shall not think, as servers take it.
NO_THINKING = (
    "{ chat_template_kwargs = { enable_thinking = false } } (vLLM, SGLang), "
    '{ reasoning_effort = "none" } (Ollama, OpenAI), or { thinking = { type = "disabled" } } (DeepSeek, Z.ai)'
)

# Models' own marks (Seed and LongCat put their name in front), and words for a block that a task may ask for as well.
_NAMED = "[a-z]{2,9}[:_]"
_OWN_TAGS = ("think", f"{_NAMED}think(?:ing)?", "antthinking")
_WORD_TAGS = ("thinking", "reasoning", "thought")
# Words that models were told to reason in as well. A task may as easily ask for them, so they count only where they
# are closed, an answer follows, and the request does not have the word.
WORDS_OF_TASKS = (
    *("reason", "thoughts", "analysis", "reflection", "scratchpad", "scratch_pad", "monologue", "inner_monologue"),
    *("reasoning_content", "thought_process", "chain_of_thought", "cot", "思考", "推理"),
)
_MARK = "(?:think|thinking|thought|reasoning)"
# What opens as <think> may end as </thinking>, or with a blank in the mark: models write both by hand.
_END_OF_THINK = rf"<\s?/\s?(?:{_NAMED}|ant)?think(?:ing)?\s*>"
# Blanks, and the head of a turn that a server with another template has left there.
_START = r"[\s\ufeff\u200b]*(?:<\|(?:im_start|start_header_id)\|>assistant(?:<\|end_header_id\|>)?\s*)?"
# Opening and closing mark of a block that stands before an answer, by family of models.
_BLOCKS = tuple(
    (re.compile(_START + opening, re.IGNORECASE), re.compile(closing, re.IGNORECASE))
    for opening, closing in (
        (r"<think(?:ing)?\s*/>", ""),  # an empty block
        *((rf"<\s?{tag}(?:\s[^<>\n]*)?>", _END_OF_THINK) for tag in (*_OWN_TAGS, "thinking")),
        # A fence of that name, closed before an answer.
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
        *((rf"<{word}>(?=[\s\S]*</{word}>\s*\S)", f"</{word}>") for word in WORDS_OF_TASKS),
        # Granite 3.2: words that anybody may write, so both must be there.
        (r"here(?:'s| is) my thought process:(?=[\s\S]*here(?:'s| is) my response:)", "here(?:'s| is) my response:"),
    )
)
_CLOSING_ALONE = re.compile(
    rf"</(?:{_NAMED})?think(?:ing)?\s*>|\[/THINK\]|◁/think▷|<\|END_THINKING\|>|<channel\|>|<\|inner_suffix\|>",
    re.IGNORECASE,
)
_OPENING = re.compile(rf"<(?:{_NAMED})?think(?:ing)?\b[^<>\n]*>|\[THINK\]|◁think▷", re.IGNORECASE)
_OPENS_A_LINE = re.compile(rf"^[ \t>]*(?:{_OPENING.pattern})", re.IGNORECASE | re.MULTILINE)
_FENCE_LINE = re.compile(r"^[ \t>]*```", re.MULTILINE)
_OPEN_QUOTE = re.compile(r"(?:^|[\s(\[{=,:])[rbfu]{0,2}(?P<quote>[\"'])(?:(?!(?P=quote)).)*\Z")
_LINE = 300  # so many letters of a line tell what a tag in it means
# Nearly every answer holds none of these letters, nor begins with Granite's words, and so nothing of the above.
_BARE_FINAL = "assistantfinal"
_MARKS, _WORDS = ("<", "[", "◁", _BARE_FINAL), re.compile(f"{_START}(?:here|thinking\\.|```)", re.IGNORECASE)
# What some of them put around the answer that follows.
_WRAPPED = re.compile(
    r"\s*<\|(?P<mark>START_RESPONSE|START_TEXT|begin_of_solution|begin_of_box)\|>(?P<answer>.*?)"
    r"(?:<\|(?:END_RESPONSE|END_TEXT|end_of_solution|end_of_box)\|>\s*)?\Z",
    re.DOTALL,
)
# The same in words that a task may ask for, so they go only where reasoning stood before them (Hunyuan, ERNIE,
# Reflection, and most models that were trained to reason with such a prompt).
_TAGGED = re.compile(
    r"\s*<(?P<tag>answer|response|output|solution|final|final_answer)>(?P<answer>(?:(?!</?(?P=tag)>).)*)(?:</(?P=tag)>\s*)?\Z",
    re.DOTALL | re.IGNORECASE,
)
# The harmony format (gpt-oss): every message names its channel; `final` is the answer.
_HARMONY = re.compile(r"\s*(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)\b", re.IGNORECASE)
_HARMONY_FINAL = re.compile(
    r"(?:<\|start\|>assistant)?<\|channel\|>final\s*(?:<\|constrain\|>)?[^<]*<\|message\|>", re.IGNORECASE
)
_HARMONY_END = re.compile(r"<\|(?:return|end)\|>\s*\Z")


class Parted(NamedTuple):
    """The reasoning (None: there is none) and what is left as the answer."""

    thinking: str | None
    answer: str


def parted(text: str) -> Parted:
    """Take what stands in front of the answer as reasoning off `text`.

    Only a block at the very beginning counts, several of them if they follow each other; one that is never closed is
    all reasoning. A closing tag without an opening one ends a block that the chat template opened, or in which the tag
    was talked about, unless it is quoted, in code, or stands inside of a sentence. Tags in the middle of an answer
    stay.
    """
    if not any(mark in text for mark in _MARKS) and not _WORDS.match(text):
        return Parted(None, text)
    if (harmony := _harmony(text)) is not None:
        return harmony
    blocks: list[str] = []
    fences = [fence.start() for fence in _FENCE_LINE.finditer(text)]
    shown = [opening.start() for opening in _OPENS_A_LINE.finditer(text)]
    at = 0
    while True:
        start = at
        if (opened := _opened(text, at)) is not None:
            start, closing = opened
            closed = closing.search(text, start)
            if closed is None:
                return Parted("\n".join((*blocks, text[start:])), "")
        else:
            closed = _end_of_a_block(text, at, fences, shown)
            if closed is None:
                break
        blocks.append(text[start : closed.start()])
        at = closed.end()
    if wrapped := _WRAPPED.match(text, at) or (_TAGGED.match(text, at) if blocks else None):
        return Parted("\n".join(blocks), wrapped["answer"])
    return Parted("\n".join(blocks) if blocks else None, text[at:])


def leading_tag(text: str) -> str | None:
    """The tag that `text` begins with, if it is a word that a task may ask for and no model's own mark."""
    tag = re.match(rf"\s*<({'|'.join((*_WORD_TAGS, *WORDS_OF_TASKS))})>", text, re.IGNORECASE)
    return tag[1].lower() if tag else None


def opens_with_thinking(text: str) -> bool:
    """Whether `text` begins with a mark of reasoning: a worked example that does asks for it."""
    return _opened(text) is not None or _HARMONY.match(text) is not None


def _opened(text: str, at: int = 0) -> tuple[int, re.Pattern[str]] | None:
    """Where the content of a block that begins at `at` begins, and what closes it."""
    return next(((m.end(), closing) for opening, closing in _BLOCKS if (m := opening.match(text, at))), None)


def _harmony(text: str) -> Parted | None:
    if final := _HARMONY_FINAL.match(text.lstrip()):
        return Parted(None, _HARMONY_END.sub("", text.lstrip()[final.end() :]))
    if not _HARMONY.match(text):
        return _bare_harmony(text)
    final = _HARMONY_FINAL.search(text)
    if final is None:
        return Parted(text, "")
    return Parted(text[: final.start()], _HARMONY_END.sub("", text[final.end() :]))


def _bare_harmony(text: str) -> Parted | None:
    """The same where a server has taken the marks out ("analysisThey want ...assistantfinalA dog."): no prose glues
    these two words to the end of a sentence."""
    thinking, final, answer = text.partition(_BARE_FINAL)
    glued = thinking.lstrip().startswith("analysis") or not thinking.strip() or thinking[-1] in ".!?)\n\u2026\u3002"
    is_code = thinking.count("`") % 2 == 1
    return Parted(thinking.strip() or None, answer) if final and answer.strip() and glued and not is_code else None


def _end_of_a_block(text: str, at: int, fences: list[int], shown: list[int]) -> re.Match[str] | None:
    """The closing tag from `at` on that ends a block which nothing in `text` opens, None if there is none. `fences` and
    `shown` are where lines begin with a fence and with an opening tag."""
    until = next((place for place in shown if place >= at), len(text))
    for closed in _CLOSING_ALONE.finditer(text, at, until):
        before = bisect_left(fences, closed.start()) - bisect_left(fences, at)
        after = len(fences) - bisect_left(fences, closed.start())
        if not (before % 2 and after % 2) and _ends_a_block(text, at, closed):
            return closed
    return None


def _ends_a_block(text: str, at: int, closed: re.Match[str]) -> bool:
    """Whether a closing tag ends a block, rather than being talked about, by the line that it stands in."""
    begin = max(at, text.rfind("\n", at, closed.start()) + 1, closed.start() - _LINE)
    line, after = text[begin : closed.start()], text[closed.end() : closed.end() + _LINE]
    rest_of_line = after.partition("\n")[0]
    if not line.strip():
        return not line.startswith(("    ", "\t"))  # indented code
    if _OPENING.search(line) or line.count("`") % 2:
        return False
    if (opened := _OPEN_QUOTE.search(line)) and opened["quote"] in rest_of_line:
        return False
    # "The tag </think> closes it" and "'</think>'" talk about the tag; "I see.</think>A dog" and "see. </think> A" end.
    ends_a_sentence = line.rstrip()[-1] in ".!?:;)\u3002\uff01\uff1f\u2026"
    if not rest_of_line.strip():
        wrapped_prose = line[-1].isspace() and not ends_a_sentence and after.strip() and not after.startswith("\n\n")
        return not wrapped_prose
    return ends_a_sentence or not (line[-1].isspace() or line[-1] in "\"'([{<\u201c\u00ab")

"""Parts a thinking model's reasoning from its answer, where the server has left both in one text.

Servers that parse the reasoning put it into a field of its own (`reasoning`, `reasoning_content`). Others leave it in
front of the answer, in the tags of the model's chat template, or only with the closing tag, where the template itself
opens the block (DeepSeek-R1, Qwen3.5).
"""

from __future__ import annotations

import re
from typing import NamedTuple

# Opening and closing mark of a block that stands before an answer, by family of models.
_BLOCKS = tuple(
    (re.compile(rf"\s*{opening}", re.IGNORECASE), re.compile(closing, re.IGNORECASE))
    for opening, closing in (
        *((rf"<{tag}>", rf"</{tag}>") for tag in ("think", "thinking", "reasoning", "thought", "seed:think")),
        (r"\[THINK\]", r"\[/THINK\]"),
        (r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
        ("◁think▷", "◁/think▷"),
    )
)
_CLOSING_ALONE = re.compile(r"</think(?:ing)?>|\[/THINK\]|◁/think▷", re.IGNORECASE)
_OPENING = re.compile(r"<think(?:ing)?>|\[THINK\]|◁think▷", re.IGNORECASE)
# The harmony format (gpt-oss): every message names its channel; `final` is the answer.
_HARMONY = re.compile(r"\s*(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)\b", re.IGNORECASE)
_HARMONY_FINAL = re.compile(r"(?:<\|start\|>assistant)?<\|channel\|>final[^<]*<\|message\|>", re.IGNORECASE)
_HARMONY_END = re.compile(r"<\|(?:return|end)\|>\s*\Z")


class Parted(NamedTuple):
    """The reasoning (None: there is none) and what is left as the answer."""

    thinking: str | None
    answer: str


def parted(text: str) -> Parted:
    """Take what stands in front of the answer as reasoning off `text`.

    Only a block at the very beginning counts, several of them if they follow each other; one that is never closed is
    all reasoning. A closing tag without an opening one ends a block that the chat template opened, unless it is
    quoted, in code, or stands inside of a sentence. Tags in the middle of an answer stay.
    """
    if (harmony := _harmony(text)) is not None:
        return harmony
    blocks: list[str] = []
    rest = text
    while (opened := _opened(rest)) is not None:
        start, closing = opened
        closed = closing.search(rest, start)
        if closed is None:
            return Parted("\n".join((*blocks, rest[start:])), "")
        blocks.append(rest[start : closed.start()])
        rest = rest[closed.end() :]
    if blocks:
        return Parted("\n".join(blocks), rest)
    for closed in _CLOSING_ALONE.finditer(text):
        if _ends_a_block(text, closed):
            return Parted(text[: closed.start()], text[closed.end() :])
    return Parted(None, text)


def opens_with_thinking(text: str) -> bool:
    """Whether `text` begins with a mark of reasoning: a worked example that does asks for it."""
    return _opened(text) is not None or _HARMONY.match(text) is not None


def _opened(text: str) -> tuple[int, re.Pattern[str]] | None:
    """Where the content of a leading block begins, and what closes it."""
    return next(((m.end(), closing) for opening, closing in _BLOCKS if (m := opening.match(text))), None)


def _harmony(text: str) -> Parted | None:
    if final := _HARMONY_FINAL.match(text.lstrip()):
        return Parted(None, _HARMONY_END.sub("", text.lstrip()[final.end() :]))
    if not _HARMONY.match(text):
        return None
    final = _HARMONY_FINAL.search(text)
    if final is None:
        return Parted(text, "")
    return Parted(text[: final.start()], _HARMONY_END.sub("", text[final.end() :]))


def _ends_a_block(text: str, closed: re.Match[str]) -> bool:
    """Whether a closing tag ends a block that was opened in the prompt, rather than being talked about."""
    before, after = text[: closed.start()], text[closed.end() :]
    line, rest_of_line = before.rpartition("\n")[2], after.partition("\n")[0]
    if _OPENING.search(before) or before.count("```") % 2 or line.count("`") % 2:
        return False
    if not line.strip() or not rest_of_line.strip():
        return True
    # "The tag </think> closes it" and "'</think>'" talk about the tag; "I see.</think>A dog" and "see. </think> A" end.
    ends_a_sentence = line.rstrip()[-1] in ".!?:;)\u3002\uff01\uff1f\u2026"
    return ends_a_sentence or not (line[-1].isspace() or line[-1] in "\"'([{<\u201c\u00ab")

"""Texts in markup that only formats them, as help desks, shops, wikis and forums store them.

without_formatting("<p>Press&nbsp;<b>Save</b>.</p><ul><li>Done</li></ul>") == "Press\\xa0Save.\\n\\n- Done"
without_formatting("[b]Hello,[/b]\\nthe shop is open.") == "Hello,\\nthe shop is open."
without_formatting("<script>x</script>") == "<script>x</script>"
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from html import unescape
from typing import Literal

from curate.gates.folding import fold
from curate.gates.phrases import says
from schemas.records import Pair

# Elements without an end tag, and those whose end tag is optional in HTML: in a fragment, and elsewhere.
VOID = frozenset(["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"])
OPTIONAL_END = frozenset(["p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "option", "colgroup"])
# Elements of texts, mails and pages of wikis; forms, scripts and graphics are not among them.
_FORMATS = (
    r"(?:a|b|i|p|u|s|q|br|hr|em|strong|big|small|mark|font|center|su[bp]|del|ins|strike|tt|code|kbd|pre|abbr|cite|time|wbr"
    r"|[uo]l|li|d[ltd]|div|span|h[1-6]|blockquote|table|thead|tbody|tfoot|t[rdh]|caption|colgroup|col|img|figure"
    r"|figcaption|section|article|address|html|body|meta|o:p|(?:ac|ri):[a-z-]+)"
)
_BEGINS = re.compile(rf"(?:<{_FORMATS}(?:\s[^<>]*)?/?>)", re.IGNORECASE)
_OTHER_TAG = re.compile(rf"</?(?!{_FORMATS}[\s/>])[a-z!?]", re.IGNORECASE)
_TAG = re.compile(r"<(/?)([a-z][\w:.-]*)(?:\s[^<>]*?)?(/?)>", re.IGNORECASE)
_BREAK = re.compile(r"<br\s?/?>", re.IGNORECASE)
# What is not shown: comments, and the head of a page or mail.
_HIDDEN = (
    ("-->", re.compile(r"<!--[\s\S]*?-->")),
    ("</head>", re.compile(r"<head\b[\s\S]*?</head>")),
    ("</style>", re.compile(r"<style\b[\s\S]*?</style>")),
)
_DOCTYPE = re.compile(r"<!doctype[^<>]*>", re.IGNORECASE)
_STATEMENT = re.compile(r"\{%[^{}%]*%\}")  # of a template language
# Atomic, so that a tag with many of these is read once.
_LINK = re.compile(r"<a\s(?>[^<>]*?href=[\"'](?:mailto:|tel:)?([^\"'<>]*)[\"'])[^<>]*>([^<>]*)", re.IGNORECASE)
_IMAGE = re.compile(r"<img\b", re.IGNORECASE)
_AS_MARKDOWN = (
    (re.compile(r"<img\s(?>[^<>]*?alt=[\"']([^\"'<>]*)[\"'])[^<>]*>", re.IGNORECASE), r"\1"),
    (re.compile(r"<pre\b[^<>]*>(?:\s*<code\b[^<>]*>)?", re.IGNORECASE), "\n```\n"),
    (re.compile(r"(?:</code>\s*)?</pre>", re.IGNORECASE), "\n```\n"),
    (re.compile(r"</?code\b[^<>]*>", re.IGNORECASE), "`"),
    (re.compile(r"<blockquote\b[^<>]*>(?:\s*<p\b[^<>]*>)?", re.IGNORECASE), "\n> "),
    (re.compile(r"<li\b[^<>]*>", re.IGNORECASE), "\n- "),
    (re.compile(r"</t[dh]>\s*(?=<t[dh]\b)", re.IGNORECASE), " | "),
    (re.compile(r"<br\s?/?>|<hr\s?/?>|</(?:p|div|[uo]l|h[1-6]|blockquote|tr|d[td])>", re.IGNORECASE), "\n"),
)
_MARKS = re.compile(r"[`|>-] ?")
_BLANK_LINES = re.compile(r"\n[ \t]*(?=\n[ \t]*\n)")
_BBCODE_NAMES = "(?:b|i|u|s|url|quote|list|img|size|colou?r|center|font)"
_BBCODE_END = re.compile(rf"\[/{_BBCODE_NAMES}\]", re.IGNORECASE)  # a[i] and b[s] are in code, and [/u] is not
_BBCODE = re.compile(
    rf"\[(?:/?{_BBCODE_NAMES}|url=(?P<address>[^\]\[\n]*)|(?:size|colou?r|font|quote|list)=[^\]\[\n]*|\*)\]",
    re.IGNORECASE,
)


def text_pair(pair: Pair) -> Pair:
    """Return a pair whose texts are as a reader sees them: without such markup, with the addresses of links.

    It is returned as it is if the input mentions markup, if the input or output has other tags, or if only the tags
    differ.
    """
    shown: Pair | Literal[False] | None = pair.__dict__.get("_text")
    if shown is None:  # all gates need it, and a pair never changes
        marked = has_mark(pair.input) or has_mark(pair.output)
        shown = pair.__dict__["_text"] = (_text_pair(pair) if marked else None) or False
    return shown or pair


def is_text_alone(pair: Pair) -> bool:
    """Whether a pair is known to be as a reader sees it."""
    return pair.__dict__.get("_text") is False


def has_mark(text: str) -> bool:
    """Whether a text may have markup."""
    return "<" in text or "[/" in text or "{%" in text


def asks_for_markup(text: str) -> bool:
    """Whether a style or an input mentions markup, or a text with variables."""
    return says("any", "markup_words", fold(text)) is not None


def _text_pair(pair: Pair) -> Pair | None:
    """Return a pair as a reader sees it, None if that is the pair itself."""
    texts = pair.input, pair.output
    if all("{%" in text for text in texts):
        texts = _STATEMENT.sub("", pair.input), _STATEMENT.sub("", pair.output)
    input, output = (without_formatting(text) for text in texts)
    if (input, output) == (pair.input, pair.output):
        return None
    if any(new == old and ("</" in old or _BREAK.search(old)) for old, new in zip(texts, (input, output), strict=True)):
        return None
    if (input.split() == output.split() and _differ_in_tags(pair)) or asks_for_markup(input):
        return None
    return pair.model_copy(update={"input": input, "output": output})


def _differ_in_tags(pair: Pair) -> bool:
    """Whether two texts have another number of tags, or other attributes: `<div class="row">`."""
    here, there = ([tag[0] for tag in _TAG.finditer(text)] for text in (pair.input, pair.output))
    return here != there and (len(here) != len(there) or any("=" in tag for tag in (*here, *there)))


def without_formatting(text: str, *, as_markdown: bool = True) -> str:
    """Return the text alone if it is wholly in such markup, otherwise as it is. Lists, quotations and code are written
    as in Markdown, or without marks."""
    shown = _BBCODE.sub(partial(_of_bbcode, as_markdown=as_markdown), text) if _BBCODE_END.search(text) else text
    if "<" not in shown:
        return shown
    shown = shown.strip()
    for end, hidden in _HIDDEN:
        if (at := shown.rfind(end)) >= 0:
            shown = hidden.sub("", shown[: at + len(end)]) + shown[at + len(end) :]
    shown = _DOCTYPE.sub("", shown).strip()
    if not (_BEGINS.match(shown) and _is_wrapped(shown)) and not has_line_breaks(shown):
        return text
    if _OTHER_TAG.search(shown):
        return text
    shown = _LINK.sub(_link, shown)
    for pattern, mark in _AS_MARKDOWN:
        shown = pattern.sub(mark if as_markdown else _MARKS.sub("", mark), shown)
    shown = unescape(_BLANK_LINES.sub("", _TAG.sub("", shown))).strip()
    return shown if shown or not _IMAGE.search(text) else text


def _of_bbcode(tag: re.Match[str], *, as_markdown: bool) -> str:
    if tag["address"]:
        return f"{tag['address']} "
    line = _BBCODE_LINES.get(tag[0][:6].casefold(), "")
    return line if as_markdown else _MARKS.sub("", line)


_BBCODE_LINES = {"[*]": "\n- ", "[quote": "\n> ", "[/quot": "\n"}


def has_line_breaks(text: str) -> bool:
    """Whether `<br>` alone ends the lines of a text, of which it has two or more, and no other tag is in it."""
    if "<br" not in text and "<BR" not in text:
        return False
    lines = _BREAK.split(text)
    return all(_LETTER.search(_ENTITY.sub("", line)) for line in (lines[0], lines[-1])) and not any(
        "\n" in line.strip() or _TAG.search(line) for line in lines
    )


_LETTER, _ENTITY = re.compile(r"[^\W_]"), re.compile(r"&(?:amp;)?#?\w{2,8};")


def formats(name: str) -> bool:
    """Whether a tag of this name only formats a text."""
    return re.fullmatch(_FORMATS, name, re.IGNORECASE) is not None


def _is_wrapped(text: str) -> bool:
    """Whether each end tag of a text that begins with a tag has its start, and the text ends with a tag or inside one
    that is still open, where it was cut off."""
    still = open_tags(text)
    return still is not None and (text.endswith(">") or bool(still))


def open_tags(text: str) -> list[str] | None:
    """Return the names of the tags that need an end and have none, in their order; None if an end has no start."""
    still = list[str]()
    for tag in _TAG.finditer(text):
        name = tag[2].casefold()
        if tag[1]:
            while still and still[-1] != name and still[-1] in OPTIONAL_END:
                still.pop()
            if not still or still.pop() != name:
                return None
        elif not tag[3] and name not in VOID:
            still.append(name)
    return still


def _link(match: re.Match[str]) -> str:
    address, text = match[1], match[2]
    digits = [re.sub(r"\W", "", side) for side in (address, text)]
    return f"{text}" if digits[0] and digits[0] in digits[1] else f"{address} {text}"


def is_in_markup(texts: Iterable[str]) -> bool:
    """Whether at least half of some texts are wholly in such markup."""
    marked = [without_formatting(text) != text for text in texts]
    return sum(marked) * 2 >= len(marked) > 0

"""Gates on damaged texts: cut off, garbled characters, wrapped in a code fence, or broken JSON."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import orjson

from curate.gates.asked_format import has_matching_tags
from curate.gates.content import in_code, is_diff, is_regex
from curate.gates.debris import foreign_markup, stray_character
from curate.gates.folding import fold
from curate.gates.formatted import formats, has_line_breaks, without_formatting
from curate.gates.judgement import Judgement, passed, quote, rejected, sides
from curate.gates.last_line import judge_last_line
from curate.gates.phrases import fragment, says
from curate.gates.phrases.word_patterns import word_pattern
from curate.gates.unfinished import broken_code_end, missing_last_item, numbering_gap, unbalanced
from curate.gates.words import count_words, without_options
from schemas.records import Pair

_FENCED = re.compile(r"\A\s*```(?P<kind>[\w+-]*)[^\n]*\n(?P<inside>[\s\S]*?)\n?```\s*\Z")
_IN_A_TAG = re.compile(r"\A\s*<(?P<tag>[a-z_]{1,20})>(?P<inside>[\s\S]*)</(?P=tag)>\s*\Z", re.IGNORECASE)
_IN_MARKS = re.compile(r"\A\s*(\"{3}|'{3})\s*[^\s\"'][\s\S]*\1\s*\Z")
_OF_TEXT = frozenset(("", "text", "txt", "markdown", "md", "plaintext", "plain"))
_FENCE = re.compile(r"^[ \t>]*```", re.MULTILINE)
_ROW = re.compile(r"^\s*\|.*$", re.MULTILINE)
_GAPS = re.compile(r"\|\s*(?:…|\.{3})\s*\|\s*(?:(?:…|\.{3})\s*\|)|\((?:…|\.{3})[^()\n]{0,40}\)\s*\Z")
_SMALL_WORD = 4  # letters of "the", "your" and "team" next to a name
_SHORT_QUOTE = re.compile(r"`[^`\n]{1,40}`|\"[^\"\n]{1,40}\"")


def cut(pair: Pair, language: str = "en", style: str = "", kind: str = "rewrite") -> Judgement:
    """The output was not cut off.

    Its last line does not end with a word that requires a continuation, a line of several sentences ends like a
    sentence, brackets and fences are closed, and a table's last row is as wide as the others. If all earlier items of a
    list end with a full stop, the last one does too. A long last line of prose is only flagged, `unended`, if it alone
    has no end. Titles, verse, lists, code and the name under a letter have no full stop, so one is only
    required of a last line that has another sentence before its last one, of a reply, and of a translation whose source
    has one (flagged, `unended`). A signature ends a text, and so does a closing of several words that the style quotes.
    Of good rows cut inside a line at random, about five of six are noticed (tests/curate/gates/test_cut_anywhere.py).
    Not covered: a text that was cut after a full stop, or inside its first sentence after a noun.
    """
    text = without_options(pair.output).strip().removesuffix(",").rstrip()
    if incomplete := _incomplete_text(pair, text):
        return incomplete
    return judge_last_line(pair, text, language, style, kind)


def _incomplete_text(pair: Pair, text: str) -> Judgement | None:
    """A rule that `text` breaks, whatever its last line is."""
    if _ONLY_PUNCTUATION.fullmatch(pair.output.strip()) and count_words(pair.input) > 1:
        return passed(f"it is nothing but {quote(pair.output)}", flag="unended")
    if "```" in text and len(_FENCE.findall(text)) % 2:
        return rejected("cut", "a code fence is never closed")
    if row := _cut_table(text):
        return rejected("cut", f"a table ends with {quote(row)}")
    if left := _first_missing_item(pair.input, text):
        return passed(f"it stops before {quote(left)}", flag="unended")
    if left := missing_last_item(pair.input, text):
        return passed(f"it does not mention {quote(left)}", flag="unended")
    if dangling := _dangling_end(pair):
        return passed(f"it ends with {quote(dangling)}", flag="unended")
    if gap := numbering_gap(pair.input, text):
        return passed(f"a list continues with number {quote(gap)}", flag="numbering")
    if opened := _unclosed_mark(text, pair.input) or unbalanced(text, pair.input):
        return passed(f"{quote(opened)} is never closed", flag="unclosed")
    if block := _incomplete_code(pair.input, text):
        return passed(f"its code ends with {quote(block)}", flag="unended")
    return None


_ONLY_PUNCTUATION = re.compile(r"[.,:;\u2026\u3002\uff0c\u3001!\uff01\u2014-]+")
# A last line of code that must be followed by its block, or that ends in mid-word.
_begun_block = word_pattern(r"(?m)^[ \t]*(?:{code_blocks}\b[^\n:]*:|{code_halves})\Z")


def _incomplete_code(given: str, text: str) -> str:
    """Return the end of code that breaks off, or what stands for the rest; '' if there is none or the input has it."""
    block = _begun_block().search(text)
    if block and (in_code(text) or says("any", "code", fold(given))):
        return block[0]
    end = broken_code_end(text)
    return "" if end in given else end


def _first_missing_item(given: str, text: str) -> str:
    """Return the list item of the input before which the output stops, or ''.

    The input lists four or more items, and the output, as a table, a list or JSON, has the first ones. It has an item
    if it contains one of its numbers or capitalised words.
    """
    if not _LISTED.search(text):
        return ""
    noted = ((part.strip(), _NOTED.findall(part)) for part in _ITEM_SEPARATOR.split(given.rpartition(": ")[2]))
    items = [(part, words) for part, words in noted if words]
    if len(items) < 4:
        return ""
    there = frozenset(_WHOLE_WORD.findall(text))
    held = [not there.isdisjoint(words) for _, words in items]
    kept = held.index(False) if False in held else len(held)
    return items[kept][0] if 0 < kept <= len(held) - 2 and not any(held[kept:]) else ""


_LISTED = re.compile(r"\A\s*[|\[{]|\n\s*(?:[|*\u2022-]|\d{1,2}[.)]) ?\S")
_ITEM_SEPARATOR = re.compile(r"[;\n]|,(?!\d)")
_WHOLE_WORD = re.compile(r"\w+")
_NOTED = re.compile(r"[A-Z\d]\w*[\d]\w*|\d+|[^\W\d_a-zß-ÿа-я]\w{2,}")


def _dangling_end(pair: Pair) -> str:
    """Return the end of an output that is a colon, a comma or an empty list item, unless the input ends so; or ''."""
    written = pair.output.rstrip()
    if written.endswith((":", "\uff1a")) and "\n" not in written and not pair.input.rstrip().endswith(written[-1]):
        return written[-30:]
    if written.endswith(_COMMAS) and "--" not in written and not pair.input.rstrip().endswith(_COMMAS):
        whole = "\n" not in written and count_words(pair.input) > _SMALL_WORD
        return written[-30:] if whole or count_words(written.rpartition("\n")[2]) > _SMALL_WORD else ""
    bare = _BARE_ITEM.search(written)
    return bare[0].strip() if bare and not pair.input.rstrip().endswith(bare[0].strip()) else ""


_COMMAS = (",", "\u060c", "\u3001", "\uff0c")
_BARE_ITEM = re.compile(r"\n(?<=\S\n)\s*(?:\d{1,2}[.)]|[-*\u2022])\s*\Z")


def _unclosed_mark(text: str, given: str) -> str:
    """Return a quotation or emphasis mark of the last line that is opened and not closed, or ''."""
    if "```" in text or "{" in text or "$" in text or in_code(text) or is_regex(text):
        return ""
    line = text.rpartition("\n")[2]
    for opening, closing in _MARKS:
        if opening == _SHARED and _MARKS[0][0] in text:
            continue
        if line.count(opening) > sum(map(line.count, closing)) and opening not in given:
            return line[line.rindex(opening) :][:40]
    odd = next(
        (mark for mark in ("**", '"') if line.count(mark) % 2 and text.count(mark) % 2 and mark not in given), ""
    )
    return "" if not odd or (odd == '"' and _INCH.search(line)) else line[line.rindex(odd) :][:40]


_MARKS = (("\u201e", '\u201c\u201d"'), ("\u00ab", "\u00bb"), ("\u300c", "\u300d"), ("\u201c", "\u201d"))
_SHARED = "\u201c"  # opens a quotation in some languages and closes one in others
_INCH = re.compile(r"\d\"")


def _cut_table(text: str) -> str:
    """Return the last row of a Markdown table if it is incomplete, or a row that stands for omitted ones; or ''."""
    if gap := _GAPS.search(text):
        return gap[0]
    rows = _ROW.findall(text)
    if len(rows) < 2 or not re.match(r"^\s*\|[\s:|-]*-", rows[1]):
        return ""
    last = rows[-1].strip()
    if not text.rstrip().endswith(last):
        return ""
    wide = rows[0].strip()
    whole = last.count("|") >= wide.count("|") and last.endswith("|") == wide.endswith("|")
    return "" if whole else last


def encoding(pair: Pair, marked: bool = False) -> Judgement:
    """No garbled characters: no U+FFFD, no control character, and no UTF-8 that was read in another encoding.

    Control characters are NUL, terminal colours and the like. Misread UTF-8 (`Ã¼` for ü) is detected with ftfy.
    Whatever the other side contains too is not damage, nor are examples where the input asks about encodings, nor line
    breaks and entities in tasks whose outputs are `marked`: most of the imported ones are HTML.
    """
    kept = passed("no garbled characters")
    for side, text in sides(pair):
        given = pair.input if side == "output" else pair.output
        if junk := _markup(text, given, marked):
            return rejected("markup", f"the {side} text has scraps of markup: {quote(junk)}")
        if junk := _escaped(text, given):
            return rejected("escaped", f"the {side} text has the escape {quote(junk)}: {quote(text)}")
        if (control := _CONTROL.search(text)) and not _CONTROL.search(given):
            return rejected("control", f"the {side} text has the control character U+{ord(control[0]):04X}")
        lost = _LOST_LETTER.findall(_shown(text)) if "?" in text and not _REGEX_SIGN.search(text) else []
        if len(lost) > 1 and not _LOST_LETTER.search(given):
            return rejected("mojibake", f"the {side} text has question marks in place of letters: {quote(lost[0])}")
        if text.isascii() or (side == "output" and fragment("encodings").search(fold(pair.input))):
            continue
        from ftfy.badness import badness  # takes 10 MB, and ASCII does not need it

        if "\ufffd" in _shown(text) and "\ufffd" not in given:
            return rejected("mojibake", f"the {side} text has lost characters: {quote(text)}")
        if len(_READ_AS_JAPANESE.findall(_shown(text))) > 1 and not _READ_AS_JAPANESE.search(given):
            return rejected("mojibake", f"the {side} text was decoded with the wrong encoding: {quote(text)}")
        if (bad := badness(_shown(text))) and bad > badness(given):
            return rejected("mojibake", f"the {side} text is garbled: {quote(text)}")
        if stray := stray_character(text, given):
            doubt = f"the {side} text has a letter of another alphabet or an invisible one: {stray!a}"
            kept = passed(doubt, flag="control")
    return kept


_READ_AS_JAPANESE = re.compile("[\u7e3a\u7e67\u7e5d]")  # the first bytes of kana, read as Shift-JIS


def _escaped(text: str, given: str) -> str:
    """Return a line end or letter written as an escape, or ''. Not in code, nor if a side has other backslashes or
    speaks of code or encodings."""
    if "\\" not in text or "\\" in given or "`" in text or not _ESCAPES.fullmatch(text):
        return ""
    if says("any", "code", fold(given)) or fragment("encodings").search(fold(f"{given}\n{text}")):
        return ""
    escapes = _ESCAPE.findall(_RANGE.sub(" ", text))
    lines, letters = (sum(one[1] in kinds for one in escapes) for kinds in ("n", "ux"))
    ended = "\n" not in text and lines > 1 and _LINE_END.search(text)
    return str(escapes[0]) if letters or ended else ""


# In `colou?r|favou?rite` no letter is lost.
_REGEX_SIGN = re.compile(r"\\[bdsw]|\(\?[:=!<P]|\[\^|\]\?|\)\?|\.[*+](?=[?)$\\[(\w])|\w\|\w")
_LOST_LETTER = re.compile(r"(?<![\w/.?=&<-])[^\W\d_]*\?[^\W\d_A-Z][^\W\d_]*(?![\w/=]|\.\w)")
_LINE_END = re.compile(r"\\n(?![a-z])")  # C:\new\names contains none
# The last alternative is the two bytes in UTF-8 of a letter.
_ESCAPE = re.compile(r"\\(?:[nrt\"'/]|u[0-9a-fA-F]{4}|x[c-fC-F][0-9a-fA-F]\\x[89abAB][0-9a-fA-F])")
_RANGE = re.compile(r"\\u[0-9a-fA-F]{4}-\\u[0-9a-fA-F]{4}")  # of letters, in a pattern
_ESCAPES = re.compile(rf"(?:[^\\;{{}}=]|{_ESCAPE.pattern})*")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")  # a vertical tab and a form feed count as whitespace
_ENTITY = re.compile(r"&(?:[a-z]{2,8}|#\d{2,5}|#x[0-9a-f]{2,4});", re.IGNORECASE)
_CLOSING = re.compile(r"</([^\W\d]\w*)>")
_ELEMENT = re.compile(r"<([a-z][\w-]*)(?:\s[^<>]*)?>[\s\S]*</\1>", re.IGNORECASE)
_BREAK = re.compile(r"<br ?/?>(?![\s\S]*</)", re.IGNORECASE)
_NAMES_MARKUP = re.compile(r"(?i)(?<![a-z])(?:html5?|xml)(?![a-z])")
_COMMENT = re.compile(r"<!--[\s\S]*?-->")


def _markup(text: str, given: str, marked: bool) -> str:
    """Return an end tag without a start, an HTML entity or a comment in a text that is not markup; or ''.

    Not if the other side contains or names any of these.
    """
    if ("<" not in text and "&" not in text) or "```" in text or _ENTITY.search(given) or "<" in given:
        return ""
    if _NAMES_MARKUP.search(given):
        return ""
    if _ELEMENT.fullmatch(text.strip()) or (text.rstrip().endswith(">") and has_matching_tags(text.strip())):
        return ""  # it is markup, in which entities are normal
    if marked or has_line_breaks(text):
        return ""
    shown = _shown(text)
    if "|" not in text and (broken := _BREAK.search(shown)):
        return broken[0]
    if scrap := _ENTITY.search(shown) or _COMMENT.search(shown[: shown.rfind("-->") + 3]):
        return scrap[0]
    return next((end[0] for end in _CLOSING.finditer(shown) if f"<{end[1].lower()}" not in shown.lower()), "")


def _shown(text: str) -> str:
    """Remove short quotations from `text`: a text about garbled characters quotes some."""
    return _SHORT_QUOTE.sub(" ", text)


def fenced(pair: Pair, style: str = "", marked: bool = False) -> Judgement:
    """A text of words is not in a code fence from its first to its last line. A text in a tag, or words as HTML in a
    fence, are flagged.

    A fence that names another language is intended, and so is any fence if the style or an input in words mentions
    code. Tags that format a text are intended if it has several, or if the outputs of the task are `marked`: most of
    the imported ones are HTML.
    """
    asked = f"{fold(pair.input)}\n{fold(style)}"
    markup = foreign_markup(pair.output, f"{pair.input}\n{style}")
    if markup and not says("any", "code", asked):
        return passed(f"it has markup that nothing asks for: {quote(markup)}", flag="tagged")
    tag = _IN_A_TAG.match(pair.output)
    if tag and _is_wrapper(tag, marked) and "<" not in asked and not says("any", "code", asked):
        return passed(f"it is wrapped in a tag: {quote(tag['tag'])}", flag="tagged")
    if has_line_breaks(pair.output) and not marked and "<" not in asked and not says("any", "code", asked):
        return passed("its lines end with <br>, which nothing asks for", flag="tagged")
    match = _FENCED.match(pair.output)
    if (match or "```" in pair.output[:4]) and "```" not in pair.input and says("any", "no_fence", asked):
        return rejected("code_fence", f"the text is in a fence, which was not wanted: {quote(pair.output)}")
    if _IN_MARKS.match(pair.output) and pair.output.strip()[:3] not in asked and not says("any", "code", asked):
        return passed("it is wrapped in triple quotes", flag="tagged")
    if not match or "```" in match["inside"]:
        return passed("it is not in a fence")
    if match["kind"].casefold() == "html" and not marked and "<" not in asked:
        words = without_formatting(match["inside"]) != match["inside"] and not says("any", "code", asked)
        if words and not says("any", "markup_words", asked):
            return passed("it is HTML in a fence, which nothing asks for", flag="tagged")
    if not _is_of_text(match["kind"].casefold()):
        return passed(f"its fence is one of code: {quote(match['kind'])}")
    # A commit message is words, although its diff is code.
    only_words = (in_code(pair.input) or is_diff(pair.input)) and not _CODE_MARK.search(match["inside"])
    mentions = fold(style) if only_words else asked
    if "```" in asked or says("any", "code", mentions) or in_code(match["inside"]):
        return passed("code may be in a fence")
    return rejected("code_fence", f"the whole text is in a code fence: {quote(pair.output)}")


def _is_wrapper(tag: re.Match[str], marked: bool) -> bool:
    """Whether a tag from the first to the last character is no form of a text: it does not format, or it is alone."""
    if tag["inside"].strip().startswith("<"):
        return False
    return not formats(tag["tag"]) or ("<" not in tag["inside"] and not marked)


_CODE_MARK = re.compile(r"[^\w\s.,;:'\u2019\"!?()-]|\w\(|\w[._/]\w|\A\W*(?:\w+\W*){0,2}\Z")  # or hardly a word


def _is_of_text(kind: str) -> bool:
    """Whether the info string of a fence names text, a kind of text, or a human language."""
    return kind in _OF_TEXT or bool(says("any", "text", kind)) or kind in _human_languages()


@cache
def _human_languages() -> frozenset[str]:
    from babel import Locale

    named = {fold(name) for name in Locale.parse("en").languages.values()}
    return frozenset(named | {fold(Locale.parse(code).language_name or "") for code in ("de", "fr", "es", "it", "pt")})


def broken_json(pair: Pair, style: str = "") -> Judgement:
    """A text that begins like a JSON object is valid JSON. Other text with braces is ignored.

    An object that only holds a few texts is flagged, `wrapped`, unless something mentions code.
    """
    text = pair.output.strip()
    if _PYTHON_LIST.fullmatch(text) and says("any", "forms_json", f"{fold(pair.input)}\n{fold(style)}"):
        return rejected("broken_json", f"JSON needs double quotes: {quote(text)}")
    if text[:1] not in ("{", "[") or not _JSON.match(text):
        return passed("it is not JSON")
    try:
        value = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
        return rejected("broken_json", f"{error}: {quote(text)}")
    asked = f"{fold(pair.input)}\n{fold(style)}"
    if isinstance(value, dict) and _is_wrapped(value) and not says("any", "code", asked) and "{" not in asked:
        return passed("it is JSON", flag="wrapped")
    return passed("it is JSON")


_JSON = re.compile(r"""\{\s*["']?\w[^{}\n]{0,60}["']?\s*:|\[\s*\{""")


_PYTHON_LIST = re.compile(r"\[\s*'[^'\n]*'(?:\s*,\s*'[^'\n]*')*\s*\]|\{\s*'[^'\n]*'\s*:[^{}]*\}")


def _is_wrapped(value: dict[str, Any]) -> bool:
    """Whether an object is only a text with a name: at most three keys, one of them with a sentence."""
    return len(value) <= 3 and any(isinstance(part, str) and " " in part.strip() for part in value.values())

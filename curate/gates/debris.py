"""Leftovers in a text that nobody typed: letters of another alphabet, invisible characters, markup of other systems.

stray_character("the f\\u0435rry", "") == "f\\u0435rry"
foreign_markup("It is \\\\textbf{closed}.", "") == "\\\\textbf{"
"""

from __future__ import annotations

import re


def stray_character(text: str, given: str) -> str:
    """Return a word with a letter of another alphabet that looks like its own, or with an invisible character; or ''.

    What `given` contains too does not count. Persian and Indian scripts need joiners, emoji too, and text from right
    to left needs its marks.
    """
    patterns = list[re.Pattern[str]]()
    if _HIDDEN.search(text):
        patterns += [_INVISIBLE, *(() if _FROM_RIGHT.search(text) else (_DIRECTION,))]
    scripts = [script for script, letter in _LETTERS_OF.items() if letter.search(text)]
    patterns += [pattern for of, pattern in _LOOK_ALIKES.items() if of <= frozenset(scripts)] if scripts[1:] else []
    for pattern in patterns:
        for stray in pattern.finditer(text):
            if stray[0] not in given:
                around = text[max(0, stray.start() - _AROUND) : stray.end() + _AROUND]
                return str(stray[0]) if stray[0][1:] else around
    return ""


_AROUND = 8  # characters shown around an invisible one
_HIDDEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ue000-\uf8ff]")
_LETTERS_OF = {
    "latin": re.compile("[A-Za-z]"),
    "cyrillic": re.compile("[\u0400-\u052f]"),
    "greek": re.compile("[\u0370-\u03ff]"),
}
# Zero-width characters inside words of letters that need none (a soft hyphen is hyphenation), overrides of the
# direction, and characters without a meaning.
_INVISIBLE = re.compile(
    "(?<=[A-Za-z\u00c0-\u024f\u0370-\u052f])[\u200b-\u200d\u2060\ufeff](?=[A-Za-z\u00c0-\u024f\u0370-\u052f])"
    "|[\u202d\u202e]|\\A\ufeff|[\ue000-\uf8ff]"
)
_FROM_RIGHT = re.compile("[\u0590-\u08ff\ufb1d-\ufefc]")
_DIRECTION = re.compile("[\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_LATIN, _CYRILLIC, _GREEK = "A-Za-z\u00c0-\u024f", "\u0400-\u052f", "\u0370-\u03ff\u1f00-\u1fff"
_CYRILLIC_TWINS = "асеорхуіјѕԁһАВЕКМНОРСТХУІЈЅ"
_GREEK_TWINS = "οανρτυικΑΒΕΖΗΙΚΜΝΟΡΤΥΧ"
_LATIN_TWINS = "aceopxyijsABEKMHOPCTXYIJS"


def _twins(letters: str, twins: str) -> str:
    """Return a pattern for words of one script with letters of another one among them, or a single one at an end.

    A number of capitals with an ending (`SMS` and one Cyrillic letter) is not such a word.
    """
    return (
        rf"(?<![\w'\u2019-])(?:[{letters}]+[{twins}]{{1,2}}[{letters}][{letters}{twins}]*|[{twins}][{letters}]{{3,}}"
        rf"|(?=\w*[a-z\u0430-\u044f\u03b1-\u03c9][{letters}]?[{twins}])[{letters}]{{3,}}[{twins}])(?![\w'\u2019-])"
    )


_LOOK_ALIKES = {
    frozenset(("latin", "cyrillic")): re.compile(
        f"{_twins(_LATIN, _CYRILLIC_TWINS)}|{_twins(_CYRILLIC, _LATIN_TWINS)}"
    ),
    frozenset(("latin", "greek")): re.compile(f"{_twins(_LATIN, _GREEK_TWINS)}|{_twins(_GREEK, _LATIN_TWINS)}"),
}


def foreign_markup(text: str, given: str) -> str:
    """Return a command of LaTeX, a tag of BBCode or wiki markup in a text, or ''.

    Not if `given`, the input and the style, has markup of the same kind or asks for it.
    """
    if not any(map(text.__contains__, ("\\", "[", "''", "=="))) or "`" in text:
        return ""
    for pattern, names in _MARKUP:
        match = pattern.search(text)
        if pattern is _MARKUP[0][0] and "$" in text:  # a formula
            continue
        if match and not pattern.search(given) and match[0] not in given and not re.search(names, given, re.IGNORECASE):
            return match[0]
    return ""


_MARKUP = (
    (
        re.compile(
            r"\\(?:text(?:bf|it|tt|sc|rm)?|emph|underline|(?:sub)*section\*?|paragraph|begin|end|href|url|cite|ref|footnote"
            r"|caption|title|chapter|large)\{|\\(?:item|noindent|newline|par|bfseries|centering"
            r"|maketitle|LaTeX)\b|\\[%&#]|(?<=\w)~\\|\\\\(?=\s|\Z)"
        ),
        r"latex|\btex\b|\\|\$",
    ),
    (
        re.compile(
            r"\[/(?:b|i|u|s|url|quote|code|img|size|color|colour|list|center|spoiler|font)\]"
            r"|\[(?:url|img|size|colou?r|font|quote)=[^\]\[\n]*\]",
            re.IGNORECASE,
        ),
        r"bb-?code|\bforum",
    ),
    (
        re.compile(
            r"'''[^'\n]+'''|\[\[[^\]\[\n]{2,60}\]\]|^={2,4} ?[^=\n]+ ?={2,4}\s*$|\{\{[^{}|\n]+\|[^{}\n]+\}\}",
            re.MULTILINE,
        ),
        r"wiki|\[\[",
    ),
)

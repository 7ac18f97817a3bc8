"""The gate on slots that were left open: `[Your Name]`, `{{ order_id }}`, `____`, `XX.XX.`, Lorem ipsum."""

from __future__ import annotations

import re

from curate.gates.judgement import Judgement, passed, quote, rejected, sides
from curate.gates.phrases import any_of
from curate.gates.words import fold
from schemas.records import Pair

# In brackets, the words decide. A link, a citation, a checkbox and an index of code are no slots.
_BRACKETED = re.compile(r"(?<![\w\])])(?:\[([^\[\]\n]{1,80})\](?![(\[:])|【([^【】\n]{1,40})】)|(?<=#)\[(_+)\]")
_ROUND = re.compile(r"\(([^()\n]{3,80})\)")
_ANGLED = re.compile(r"(?<![\w<])<(?!/)([^\W\d_](?:[^<>\n/=\"]{0,38}[^\W_])?)>")
# What can be nothing else. Case matters in these.
_PLAIN = re.compile(
    r"\{\{[^{}\n]{1,60}\}\}|\$\{[^{}\n]{1,60}\}|(?<![\w{$\\/])\{[^\W\d]\w{1,30}\}(?!\})|%[A-Z][A-Z_]{2,40}%|<[A-Z]+(?:_[A-Z]+)+>"
    r"|\b[Xx]{2,}(?:[./-][Xx]{2,})+|\bXX\.|\$X[,X.]*X\b|\bX{3,}\b"
    r"|\b(?:INSERT|ENTER|ADD|FILL IN|YOUR) [A-Z][A-Z ]{2,40}\b"
    r"|\b(?:AGENT|CLIENT|CUSTOMER|COMPANY|PRODUCT|GUEST|RECIPIENT) NAME\b"
    r"|\bTO ?DO:|\bFIXME\b|\b(?:TBD|TBA|TBC|T\.B\.D\.)(?!\w)"
    r"|(?i:\blorem ipsum\b)|[〇○◯]{2,}|O{3}(?= ?님)|\b0{2,4}(?=년|월|일)"
    r"|(?<![\w_])_{3,}(?![\w_])|(?<![.\w])\.{8,}|(?<=\w )\.{8,}|…{4,}"
)
_ASKS = re.compile(r"\b(?:insert|fill in|add|enter|einf[uü]gen|eintragen|ins[eé]rer|insertar|inserir|inserire|wpisz)\b")
# The other side speaks of forms and templates, whose slots are wanted.
_A_FORM = re.compile(
    r"\b(?:templates?|placeholders?|forms?|fill[- ]in|blanks?|vorlage\w*|formular\w*|platzhalter|lücken\w*"
    r"|modèles?|formulaire\w*"
    r"|plantilla\w*|formulario\w*|modelos?|modell[oi]|modul[oi]|szablon\w*|sjabloon|шаблон\w*|form\w*)\b"
    r"|模板|表格|填空|テンプレ|雛形|서식|양식|نموذج"
)
_CODE = re.compile(
    r"```|^\s*(?:def|class|import|function|const|let|var|if|for|return|public|#include)\b|;\s*$|=>|\$\(|^\s*[{[<]",
    re.MULTILINE,
)
_TAGS = re.compile(
    r"(?:a|b|i|p|u|s|br|hr|em|strong|code|pre|[uo]l|li|div|span|h[1-6]|table|t[rhd]|img|su[bp]|kbd|details|summary|html|body|head"
    r"|title|script|style|form|input|button|label|section|main|nav|header|footer|blockquote|small|mark)"
)


def placeholder(pair: Pair, style: str = "", language: str = "en") -> Judgement:
    """No slot was left open. What the other side or the house style writes in the same way is wanted, and so are slots
    in a form or a template, where either of them speaks of one.

    A text in brackets is a slot if a word of `slots` of the language's table, or of the English one, stands in it;
    in angle brackets anything is but a tag of HTML or one that is closed.
    Not covered: a slot in round brackets that is not all slot words; variables in code.
    """
    for side, text in sides(pair):
        given = pair.input if side == "output" else pair.output
        wanted = f"{fold(given)}\n{fold(style)}"
        if not _A_FORM.search(wanted) and (slot := _slot(text, wanted, language)):
            return rejected("placeholder", f"the {side} text has an open slot: {quote(slot)}")
    return passed("no open slot")


def _slot(text: str, wanted: str, language: str) -> str:
    code = bool(_CODE.search(text))
    for match in _PLAIN.finditer(text):
        if fold(match[0]) not in wanted and not (code and match[0][0] in "{$%_.<TFX"):
            return match[0]
    for kind, pattern in (("[", _BRACKETED), ("<", _ANGLED), ("(", _ROUND)):
        if kind not in text and not (kind == "[" and "【" in text):
            continue
        for match in pattern.finditer(text):
            inside = fold(next(filter(None, match.groups())))
            if fold(match[0]) in wanted or _TAGS.fullmatch(inside) or (code and kind != "["):
                continue
            if _is_slot(inside, kind, language, f"</{inside.split()[0]}" in fold(text)):
                return match[0]
    return ""


def _is_slot(inside: str, kind: str, language: str, closed: bool) -> bool:
    """Whether the folded text inside of brackets is a slot; `closed`: it is a tag that ends elsewhere."""
    if not re.search(r"[^\W\d]", inside):
        return "__" in inside
    if closed or '"' in inside:
        return False
    slots = [any_of(code, "slots") for code in dict.fromkeys((language, "en"))]
    if kind == "<":
        return not re.search(r"[@.:]", inside)
    if kind == "[":
        return any(pattern.search(inside) for pattern in slots)
    if _ASKS.match(inside) or _ASKS.search(inside[-12:]):
        return True
    rest = inside
    for pattern in slots:
        rest = pattern.sub("", rest)
    return len(re.sub(r"\W+", "", rest)) <= 3 and len(inside.split()) > 1

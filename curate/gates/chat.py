"""Gates on the voice of a text: a model that chats, refuses, or answers the input instead of rewriting it.

All phrases are English and looked for in folded text (lower case, straight apostrophes).
"""

from __future__ import annotations

import re

from curate.gates.judgement import Judgement, Side, passed, quote, rejected, sides
from curate.gates.words import STOP_WORDS, fold, words
from schemas.records import Pair


def _any_of(*alternatives: str) -> re.Pattern[str]:
    return re.compile("|".join(alternatives))


# What a chat model calls the text it was asked for. A `version` or a `description` may also be a customer's.
_TEXT = r"(?:(?:image )?prompts?|rewrit\w+|re-?writes?|rephras\w+|drafts?|captions?)"
_OTHER_TEXT = (
    r"(?:versions?|descriptions?|variations?|revisions?"
    r"|(?:polished|improved|enhanced|revised|expanded|final|possible|suggested|simple)"
    r"(?: \w+){0,2} (?:text|repl(?:y|ies)|responses?|messages?|answers?|emails?|outputs?|notes?))"
)
_YES = (
    r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|alright|great|got it|no problem|definitely|understood"
    r"|yes)"
)
_MAKE = r"(?:create|draw|write|describe|paint|design|generate|rewrite)"
_WORK = r"(?:images?|pictures?|photos?|drawings?|paintings?|artworks?|content|prompts?|stor(?:y|ies)|poems?)"

_REFUSAL = _any_of(
    r"\bas an? (?:\w+ )?(?:ai|artificial intelligence|language model|text-based)(?: \w+){0,3},? i\b",
    r"\bi(?:'m| am) (?:just |only |merely )?an? (?:\w+ ){0,2}(?:ai\b|artificial intelligence|language model)",
    r"\bi(?: can't| cannot| can not| won't| will not| couldn't|(?:'m| am) (?:unable|not able) to"
    r"| (?:don't|do not) have the (?:ability|capability) to)(?: \w+)? (?:"
    r"comply|assist (?:you )?with (?:that|this)|help (?:you )?with (?:that|this)|fulfill? (?:that|this|your) request"
    rf"|(?:create|generate|produce|draw|paint|display|see|write|rewrite|provide) (?:\w+ ){{0,4}}{_WORK})\b",
    r"\b(?:against|violates?) my (?:\w+ )?(?:guidelines|programming|polic(?:y|ies))\b",
)
_MARKER = _any_of(
    r"<\|[\w ]{2,20}\|>",
    r"<(?:start|end)_of_turn>",
    r"\[/?inst\]",
    r"<</?sys>>",
    r"</?s>",
    r"(?m:^\W{0,4}(?:user|assistant|human|system|instruction|response|input|output)\W{0,3}:)",
)
_LABEL = re.compile(
    r"\A\W*(?:the )?(?:enhanced|simple|rewritten|rewrite|improved|expanded|revised|output|input|answer|response|reply"
    r"|result|completion|assistant|user|system|example|text|instruction)\W{0,3}:"
)
_OPENING = re.compile(
    rf"\A\W*(?:{_YES}\b[!,.:;\s-]*)?(?:"
    r"(?:here|below|following)(?:'s| is| are|) (?:\w+[ ,'-]+){0,6}?"
    rf"(?:{_TEXT}\b|{_OTHER_TEXT}\b(?:[^.:\n]{{0,60}}:| (?:of|for) (?:your|the) {_TEXT}))"
    r"|i(?:'ve| have|'ll| will| would|'d| can)? ?(?:just |also |gladly )?(?:rewrit\w*|rewrote|rephras\w*"
    r"|(?:enhanc|expand|improv|revis|polish|craft)\w* (?:\w+ ){0,4}?"
    r"(?:prompt|text|description|sentence|message|reply|draft))\b"
    r"|let me (?:rewrite|rephrase|enhance|expand) "
    rf"|(?:the|this|my|your|a|an) (?:{_TEXT}|{_OTHER_TEXT})(?: \w+){{0,4}}?"
    r"(?: is| could be| would be| might be)?\s*[:\"]"
    rf"|(?:\w+ ){{0,2}}{_TEXT}\W*:)"
)
_BARE_YES = re.compile(rf"\A\W*{_YES}[!,:.]")
_YOU = re.compile(r"\byou(?:r|rs|rself)?\b")
_CLOSING = _any_of(
    rf"\b(?:let me know|feel free|would you like|do you want|i hope|hope) (?:\w+[ ,'-]+){{0,12}}?{_TEXT}\b",
    r"\bfeel free to (?:adjust|modify|tweak|edit|customi[sz]e|expand) (?:it|this|the (?:text|description|wording))\b",
    rf"\b(?:this|the above) (?:\w+ )?(?:{_TEXT}|version|description) (?:\w+ )?(?:captures?|describes?|is designed|aims?"
    r"|emphasi[sz]es?|conveys?|evokes?|paints?|maintains?|follows?)\b",
    r"(?m:^\W*(?:explanation|changes made|rationale)\W{0,3}:)",
    r"(?:\(|(?m:^\W*))note\W{0,3}: (?:this|i|the) (?:prompt|rewritten|enhanced|description|have|'ve)\b",
)


def preamble(pair: Pair, style: str = "") -> Judgement:
    """The text stands alone: no refusal, no chat before or after it, no label, no marks of a chat template.

    A phrase that the other side or the house style says itself is not held against the text. A bare `Sure!` at the
    start is chat only where the text speaks to nobody (no `you`), so that a reply to a customer may begin with it.
    Not covered: chat in other words or another language; a polite sentence that fits a reply as well (`I am sorry, but
    we cannot ...`, `Let me know if ...`). A style whose texts begin with a label such as `Answer:` should say so.
    """
    for side, text in sides(pair):
        given = _given(pair, side, style)
        said = fold(text)
        for word, pattern in (
            ("refusal", _REFUSAL),
            ("preamble", _MARKER),
            ("preamble", _LABEL),
            ("preamble", _OPENING),
            ("preamble", _CLOSING),
        ):
            if found := _new(pattern, said, given):
                return rejected(word, f"the {side} text says {quote(found)}")
        if (found := _new(_BARE_YES, said, given)) and not _YOU.search(said):
            return rejected("preamble", f"the {side} text begins with {quote(found)}")
    return passed("it stands alone")


_TO_THE_ASKER = _any_of(
    rf"\bi(?:'d| would| will|'ll) (?:be (?:more than )?(?:happy|glad|delighted) to|love to) (?:\w+ ){{0,3}}{_MAKE}\b",
    rf"\bi can (?:help|assist) you (?:\w+ )?(?:to )?{_MAKE}\b",
    r"\b(?:what|that(?:'s| is| sounds like))(?: such)? an? (?:\w+ )?"
    r"(?:great|wonderful|beautiful|lovely|fantastic|interesting|amazing|fascinating|creative|excellent|unique|good"
    r"|intriguing|cool) (?:\w+ )?(?:idea|prompt|concept|scene|image|picture)\b",
    rf"\bthank(?:s| you) for (?:\w+ )?(?:the|this|your|sharing|providing) (?:\w+ ){{0,3}}{_TEXT}\b",
    r"\b(?:could|can|would) you (?:please )?(?:\w+ )?(?:provide|give|share|tell|clarify|describe|specify) "
    r"(?:\w+ ){0,8}?(?:prompt|scene|(?:image|picture|style) (?:that )?you (?:want|would like|have in mind))\b",
    r"\bwhat (?:kind|type|sort|style|colou?rs?) (?:\w+ ){1,6}"
    r"(?:do|would|should) you (?:want|like|prefer|have in mind)\b",
)
_ABOUT_THE_TEXT = _any_of(
    r"\b(?:the|this|your) (?:original|given|above) (?:image )?(?:prompt|sentence)\b",
    r"\brewrit(?:e|ing) (?:the|this|an?|your) (?:\w+ )?(?:instruction|prompt|sentence|text|input)s?\b",
    r"\byou (?:are|were|have been) asked to (?:rewrite|write|create|describe)\b",
    r"\bi (?:changed|rewrote|replaced|added|removed) (?:the|a|an|some) (?:\w+ )?"
    r"(?:sentence|word|phrase|prompt|wording)s?\b",
    r"\bthis is an? (?:\w+ )?(?:sentence|prompt|example of (?:a|an|how))\b",
    r"\byou (?:should|could|can|may want to|might want to|need to) (?:\w+ )?(?:tell|inform|let|ask|remind) "
    r"(?:the|your) (?:customer|client|user|buyer|guest|reader)s?\b",
    r"\b(?:adding|including) (?:some |a few )?more (?:\w+ )?(?:details?|adjectives|context)\b",
    r"\bmak(?:es?|ing) (?:your|the|this) (?:prompt|description|message|reply|response|text|sentence) (?:\w+ )?"
    r"(?:more|complete|better|clearer|sound)\b",
)
_HOW_TO = _any_of(
    r"\A\W*to (?:draw|paint|sketch|depict|render|illustrate|photograph|capture"
    r"|(?:create|make|design) (?:\w+ ){1,6}?(?:image|picture|scene|painting|drawing|effect|look)) (?:\w+[ ,'-]+){0,12}?"
    r"(?:you|start|begin|follow|first|use|we|one|try|consider|it)\b",
    r"\A\W*(?:here|below|there|these|the following)(?:'s| is| are|) (?:\w+ ){0,4}(?:tips|ideas|reasons|facts)\b",
)
_FROM_OUTSIDE = _any_of(
    r"\A\W*(?:in )?(?:the|this|that) (?:\w+ ){0,2}(?:(?:image|picture),? (?:\w+ )?(?:is|was|we|you|i|there)"
    r"|(?:image|picture|photo|photograph|painting|illustration|artwork|drawing),? (?:\w+ )?"
    r"(?:shows?|depicts?|features?|captures?|describes?|portrays?|illustrates?|represents?))\b",
    r"\A\W*(?:the|this|that) (?:\w+ )?(?:prompt|input|phrase|sentence)\b(?: \S+){0,8}? "
    r"(?:is|was|means|refers|suggests|implies|describes|asks|could|can|should|has|needs|says)\b",
)
# The customer's own picture: `The photo that you sent shows ...` begins a reply.
_YOUR_PICTURE = re.compile(r"\byour\b|\byou (?:have )?(?:sent|attached|shared|took)\b")
_EXPLAINS = _any_of(
    r"\s*(?:is|are|was|were) (?:\w+ )?an? (?:\w+ ){0,3}(?:type|kind|form|species|genus|breed|symbol) of\b",
    r"\s*(?:is|are) (?:\w+ )?an? (?:\w+ ){0,3}(?:mammal|term|word|phrase)\b",
    r"\s*(?:is|are|was|were) (?:often |commonly |usually |generally )?(?:known as|defined as|considered an?)\b",
    r"\s*(?:refers? to|means|originat\w+|evolved|symboli[sz]es?|plays? an? (?:\w+ )?role)\b",
    r"\s*(?:goes|go|dates?|dating) back (?:to|as far|more|over|thousands|hundreds|centuries)\b",
    r"\s*(?:has|have) (?:long been|a (?:long|rich) history|been (?:known|around|a symbol))\b",
    r"\s*(?:was|were) (?:first )?(?:built|invented|founded|discovered|introduced) (?:in|by)\b",
)


def answered(pair: Pair, style: str = "") -> Judgement:
    """The text rewrites the input; it does not answer it, explain it, describe it, or offer to do it.

    Seen are: offers of help and praise for the idea, a question about what is wanted, talk about the text and advice on
    it, instructions for making the thing, a description from outside (`This image shows ...`), and an encyclopedia's
    sentence about the subject (`A lighthouse is a type of ...`), each unless the other side or the house style says
    the same. The rules are narrow, because a reply to a customer may ask, explain and offer help as well.
    Not covered: an answer in the right voice, such as a reply to the agent in the words of a reply to the customer;
    what only the task can tell belongs into must, must_not or a user gate.
    """
    for side, text in sides(pair):
        given = _given(pair, side, style)
        said = fold(text).strip()
        for pattern, what in (
            (_TO_THE_ASKER, "talks to the person who asked"),
            (_HOW_TO, "tells how to make it"),
            (_ABOUT_THE_TEXT, "talks about the text"),
        ):
            if found := _new(pattern, said, given):
                return rejected("answered", f"the {side} text {what}: {quote(found)}")
        if (found := _new(_FROM_OUTSIDE, said, given)) and not _YOUR_PICTURE.search(said):
            return rejected("answered", f"the {side} text describes it from outside: {quote(found)}")
        end = _end_of_subject(said, fold(pair.input)) if side == "output" else 0
        if end and (explained := _EXPLAINS.match(said, end)) and explained[0].strip() not in given:
            return rejected("answered", f"it explains the subject: {quote(said[: explained.end()])}")
    return passed("it is a rewrite")


def _given(pair: Pair, side: Side, style: str) -> str:
    """What the text of `side` may say because it was told to: the other side's words and the house style's."""
    return fold(f"{pair.input if side == 'output' else pair.output}\n{style}")


def _new(pattern: re.Pattern[str], said: str, given: str) -> str:
    """What `pattern` finds in `said`, unless what is given says it too; else ''."""
    found = pattern.search(said)
    return found[0].strip() if found and found[0].strip() not in given else ""


def _end_of_subject(said: str, given: str) -> int:
    """Where the subject at the start of `said` ends, if it is made of words of the input; else 0."""
    known = {word.removesuffix("s") for word in words(given)} | {"a", "an", "the"}
    end, has_content = 0, False
    for match in re.finditer(r"[\w'-]+", said[:120]):
        if match[0].removesuffix("s") not in known:
            break
        has_content |= match[0] not in STOP_WORDS
        end = match.end()
    return end if has_content else 0

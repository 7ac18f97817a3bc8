"""Words of a text as the gates compare them: folded, inflections and compounds allowed for."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from difflib import SequenceMatcher
from functools import cached_property, lru_cache

# Scripts written without spaces: every character counts as a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+(?:'[^\W_{_UNSPACED}]+)*")
_UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")
# `--ar 16:9`: an option of the image model, not a word of the description.
OPTION = re.compile(r"(?<!\S)--[a-z]\w*(?:[ =][\d.:/]+(?=[,;]?(?:\s|\Z))|[ =]\S+(?=\s+--|\s*$))?")

_STOP_WORDS = """
a an the this that these those some any each every all both either neither no not nor or and but so as if then than of
in on at by for from to into onto over under with within without about above below between through during before after
against along across around behind beside beyond near off out up down upon via per w i me my mine we us our ours you
your yours he him his she her hers it its they them their theirs one ones is are was were be been being am do does did
done have has had having will would can could shall should may might must who whom whose which what when where why how
there here very too also just only still yet again more most much many such own same other another few lot like get
got let s t re ve ll d m don doesn didn isn aren wasn weren won
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
_ASKING_WORDS = """
please make create draw paint generate show give want need write rewrite describe design image images picture pictures
pic photo photos prompt something someone thing things tell say ask reply respond answer explain inform apologise
apologize offer confirm thank thanks remind mention note customer customers cust client clients user users caller
buyer guest member subscriber agent sorry hi hello dear regards asap fyi nice good
"""
# Words about the asking, not about what is asked for: a rewrite drops them, as it should.
ASKING_WORDS = frozenset(_ASKING_WORDS.split())
_IRREGULAR = {
    form: base
    for base, forms in {
        "man": "men", "woman": "women", "child": "children kid kids", "person": "people persons", "mouse": "mice",
        "goose": "geese", "foot": "feet", "tooth": "teeth", "ox": "oxen", "die": "dice dying", "leaf": "leaves",
        "wolf": "wolves", "knife": "knives", "life": "lives", "loaf": "loaves", "shelf": "shelves", "thief": "thieves",
        "run": "ran", "sit": "sat", "sleep": "slept asleep", "fly": "flew flown", "swim": "swam swum",
        "sing": "sang sung",
        "ride": "rode ridden", "drive": "drove driven", "fall": "fell fallen", "grow": "grew grown",
        "break": "broke broken", "buy": "bought", "sell": "sold", "send": "sent", "pay": "paid", "ship": "shipment",
        "lose": "lost loss", "hold": "held", "wear": "wore worn", "eat": "ate eaten", "drink": "drank drunk",
        "freeze": "froze frozen", "burn": "burnt", "rise": "rose risen", "stand": "stood", "hide": "hid hidden",
        "take": "took taken", "give": "gave given", "come": "came", "go": "went gone", "see": "saw seen",
        "catch": "caught", "fight": "fought", "light": "lit", "shine": "shone", "build": "built", "keep": "kept",
        "leave": "left", "arrive": "arrival", "deliver": "delivery", "cancel": "cancellation", "choose": "chose chosen",
        "colour": "color", "grey": "gray", "jewellery": "jewelry", "theatre": "theater", "centre": "center",
    }.items()
    for form in forms.split()
}  # fmt: skip
_ENDINGS = ("ings", "ing", "ies", "ied", "ers", "est", "ed", "es", "er", "ly", "s", "y", "e")


def fold(text: str) -> str:
    """`text` in one form: compatibility characters, case and apostrophes made equal."""
    return unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'").replace("\u02bc", "'")


def words(text: str) -> list[str]:
    """The folded words in order; hyphenated words are split, and a character of an unspaced script is a word."""
    return _WORD.findall(fold(text))


def without_options(text: str) -> str:
    """`text` without options such as `--ar 16:9`."""
    return OPTION.sub(" , ", text)


def count_words(text: str) -> int:
    """Words as a word counter counts them (runs without white space), unspaced scripts by character."""
    unspaced = len(_UNSPACED_CHARACTER.findall(text))
    return len((_UNSPACED_CHARACTER.sub(" ", text) if unspaced else text).split()) + unspaced


def content_words(text: str) -> list[str]:
    """The distinct words of `text` that carry its content: no stop words, no words about the asking, no numbers.

    The stop words are English; in another language only the rule "longer than one letter" thins the words out.
    """
    kept = (
        word.removesuffix("'s")
        for word in words(without_options(text))
        if word not in STOP_WORDS and word not in ASKING_WORDS and not any(c.isdigit() for c in word)
    )
    return list(dict.fromkeys(word for word in kept if len(word) > 1 and word not in STOP_WORDS))


@lru_cache(maxsize=1 << 16)
def stem(word: str) -> str:
    """A crude stem: irregular forms by table, else one common English ending removed if three letters stay."""
    word = _IRREGULAR.get(word, word)
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word


class Vocabulary:
    """The words of one text, asked whether another text's word survives in it."""

    def __init__(self, text: str) -> None:
        self.words = words(text)
        self._distinct = frozenset(self.words)

    @cached_property
    def _stems(self) -> frozenset[str]:
        return frozenset(map(stem, self._distinct))

    def __contains__(self, word: str) -> bool:
        """True for the word itself, an inflection, a compound with it, its abbreviation or its misspelling.

        Synonyms are not covered.
        """
        if word in self._distinct:
            return True
        root = stem(word)
        if root in self._stems:
            return True
        if len(root) >= 4 and any(w.startswith(root) or (len(w) >= 4 and word.startswith(w)) for w in self._distinct):
            return True
        if len(word) >= 6 and word in "".join(self.words):  # "light house" for "lighthouse"
            return True
        return _abbreviated(word, self._distinct) or (len(word) >= 6 and _misspelt(word, self._distinct))


def _abbreviated(word: str, vocabulary: Collection[str]) -> bool:
    """`acct` for account, `dmgd` for damaged: hardly a vowel after the first letter, all letters in order."""
    if not 2 <= len(word) <= 6 or any(c in "aeiou" for c in word[1:]):
        return False
    return any(len(w) > len(word) and w[0] == word[0] and _in_order(word, w) for w in vocabulary)


def _in_order(letters: str, word: str) -> bool:
    rest = iter(word)
    return all(letter in rest for letter in letters)


def _misspelt(word: str, vocabulary: Collection[str]) -> bool:
    """A word of about the same length, the same first letter and at least 85 % of the letters in order."""
    near = (w for w in vocabulary if w[0] == word[0] and abs(len(w) - len(word)) <= 2)
    return any(SequenceMatcher(None, word, w, autojunk=False).ratio() >= 0.85 for w in near)

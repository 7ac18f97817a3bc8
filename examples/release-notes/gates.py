"""Gates of this project, which compare a commit line with its release note.

`pairsmith.toml` lists three functions of this file under `curate.gates.user`. Each takes a pair and returns whether to
keep it and why. A commit line with a verb that is not in `VERBS` is not judged here: only `checks.py`, which no gate
uses, knows its right label.
"""

from __future__ import annotations

import re

VERBS = {
    "Fixed": "fix fixes fixed bugfix resolve resolves prevent prevents correct corrects repair repairs handle avoid "
    "mend debug solve cure",
    "New": "feat feature new add adds allow allows support supports introduce introduces enable enables implement "
    "create creates offer offers build provide bring launch expose",
    "Improved": "perf refactor make makes improve improves reduce reduces speed simplify optimise optimize shorten "
    "tidy better faster bigger simpler clearer smoother boost rework streamline upgrade modernise",
    "Removed": "remove removes drop drops delete deletes retire retires deprecate disable get no turn scrap abandon "
    "discard phase hide unship",
}
LABEL_OF = {verb: label for label, verbs in VERBS.items() for verb in verbs.split()}
# Verbs whose next word decides; `make it` may be followed by anything (possible, faster).
LABEL_OF_TWO = {"make sure": "Fixed", "make it": None, "turn on": "New", "turned on": "New"}
CLOSINGS = ("Sorry for the trouble.", "Try it today.", "Enjoy the difference.", "Write to us if you miss it.")
SMALL = """
a an the of in on at by for from to with without and or when while after before is are was does do not that it its as
all up rid more longer old unused usage use chore speed size can now users
"""

_SMALL = frozenset(SMALL.split())
_PREFIX = re.compile(r"\s*([a-z]+)(?:\(([^)]*)\))?!?:\s*", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"[^\W\d_]+")
_NOTE = re.compile(r"\w+: (.+?)\. (?:Sorry|Try|Enjoy|Write) .*", re.DOTALL)


def numbers(pair):
    """The numbers on both sides are the same: none is lost, none invented."""
    here, there = sorted(_NUMBER.findall(pair.input)), sorted(_NUMBER.findall(pair.output))
    return (True, "ok the numbers agree") if here == there else (False, f"numbers {here} became {there}")


def label(pair):
    """The label must be the one that the verb of the commit line requires; the closing depends on the label (see
    `must`)."""
    expected = label_of(pair.input)
    given = pair.output.partition(":")[0]
    if expected is None:
        if written_by_a_model(pair):
            return False, "no_verb the commit line does not say what was done"
        return True, "ok the verb is not in the table"
    return (True, "ok") if given == expected else (False, f"wrong_label {given!r}, and the verb asks for {expected!r}")


def content(pair):
    """At least 60 % of the content words are kept in both directions, and a commit line does not quote the note."""
    if written_by_a_model(pair):
        if "no more" in pair.input and not pair.output.startswith("Removed: "):
            return False, "turned_round the commit line takes away what the note gives"
        if any(closing[:-1].lower() in pair.input.lower() for closing in CLOSINGS) or len(pair.input.split()) > 14:
            return False, "not_a_line it reads like a note"
        if re.match(r"(?:Fixed|New|Improved|Removed): ", pair.input):
            return False, "not_a_line it begins like a note"
    phrase = _NOTE.fullmatch(pair.output)
    if phrase is None:
        return False, "no_phrase there is nothing between label and closing"
    scope, body = _parts(pair.input)
    input_roots, given = _roots(body), _roots(phrase[1])
    known = input_roots | _roots(scope) | _roots(pair.input)
    kept = _share(input_roots, given) if input_roots else 1.0
    backed = _share(given, known)
    if kept < 0.6:
        return False, f"lost_content {kept:.0%} of the commit line's words are in the note"
    if backed < 0.6:
        return False, f"made_up {backed:.0%} of the note's words are in the commit line"
    return True, f"ok {kept:.0%} kept, {backed:.0%} backed"


def label_of(line):
    """The label that a commit line's verb requires; None if it is not in the table. For an unknown verb the prefix
    decides, except for a breaking change (`feat!:`), which may add or remove something."""
    prefix = _PREFIX.match(line)
    first, second = [*_WORD.findall((line[prefix.end() :] if prefix else line).lower()), "", ""][:2]
    by_verb = LABEL_OF_TWO.get(f"{first} {second}", LABEL_OF.get(first))
    return by_verb or (LABEL_OF.get(prefix[1].lower()) if prefix and "!" not in prefix[0] else None)


def written_by_a_model(pair):
    """Backward rows: a person wrote the note, the teacher wrote the commit line."""
    return getattr(pair.origin, "generator", None) == "backward"


def _parts(line):
    """(scope, body) of a commit line: `feat(map): add ferries` has the scope `map`."""
    prefix = _PREFIX.match(line)
    return (prefix[2] or "", line[prefix.end() :]) if prefix else ("", line)


def _share(words, among):
    """The share of `words` that occur in `among`, also inflected: `sort` in `sorti(ng)`. 0 without words."""
    met = sum(any(a.startswith(b) or b.startswith(a) for b in among) for a in words)
    return met / len(words) if words else 0.0


def _roots(text):
    """The content words of a text by their first five letters."""
    words = (word.lower() for word in _WORD.findall(text))
    return {word.rstrip("s")[:5] for word in words if len(word) > 2 and word not in _SMALL and word not in LABEL_OF}

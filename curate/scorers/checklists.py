"""The questions of a checklist, and how a language model's answers to them are parsed.

P(yes) comes from the endpoint's log-probabilities at the token where an answer begins: the probability of "yes"
relative to "no", ignoring other tokens. Without log-probabilities an answer counts as 1 or 0. If a question has neither
a yes nor a no, or both, the whole answer is unreadable: half a checklist would be a different checklist.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.kinds import KINDS, KindName
from schemas.records import Json, Reason
from schemas.spec import JudgeQuestion

# Used where the spec has no questions of its own; {input} and {output} are filled with the terms of the task kind.
_RULES = ("follows_rules", "Does the {output} follow every one of the rules?")
_READS_WELL = ("reads_well", "Is the {output} fluent, whole and free of repetition, as a careful person writes?")
_ONLY = ("nothing_else", "Is the {output} free of remarks about itself, of titles and of a choice of several versions?")
DEFAULTS: Mapping[KindName, tuple[tuple[str, str], ...]] = {
    "rewrite": (
        _RULES,
        ("keeps_content", "Does the {output} keep everything that the {input} says or asks for?"),
        ("contradicts_nothing", "Is the {output} free of anything that contradicts the {input}?"),
        _ONLY,
        _READS_WELL,
    ),
    "reply": (
        _RULES,
        ("answers", "Does the {output} answer what the {input} asks?"),
        ("invents_nothing", "Is every fact, promise and link of the {output} in the {input} or in the rules?"),
        _ONLY,
        _READS_WELL,
    ),
    "classify": (("right_label", "Is this {output} the one that fits the {input} best, of all that the rules name?"),),
    "extract": (
        ("complete", "Does the {output} hold everything that the {input} says of what it asks for?"),
        ("grounded", "Does every value of the {output} stand in the {input} or follow from it?"),
    ),
    "translate": (
        ("faithful", "Does the {output} say all that the {input} says, and nothing else?"),
        ("terms", "Are names, numbers and terms of the {input} right in the {output}?"),
        ("native", "Is the {output} written as natives of its language write?"),
    ),
    "free": (
        _RULES,
        ("follows_prompt", "Does the {output} do all that the {input} asks?"),
        ("true", "Is the {output} free of false statements and of contradictions?"),
        _ONLY,
        _READS_WELL,
    ),
}
_NO_ANSWER = re.compile(r"\bno to ([a-z][a-z0-9_]*) \(")
_LEADING_MARKS = " \t\r\n\"'`:*,{["
_WORDS = {"yes": True, "true": True, "no": False, "false": False}


def questions_of(kind: KindName, given: Sequence[JudgeQuestion]) -> tuple[JudgeQuestion, ...]:
    """The questions of the spec, or the default ones of its task kind."""
    words = {"input": KINDS[kind].input, "output": KINDS[kind].output}
    defaults = (JudgeQuestion(name=name, question=text.format(**words)) for name, text in DEFAULTS[kind])
    return tuple(given) or tuple(defaults)


def describe_no_answers(answers: Mapping[str, float]) -> str:
    """The questions answered rather with no than with yes, as text with P(yes); empty if there are none.
    `parse_no_answers` parses it."""
    return ", ".join(f"no to {name} ({yes:.2f})" for name, yes in answers.items() if yes < 0.5)


def parse_no_answers(reason: Reason) -> list[str]:
    """The question names in the text of `describe_no_answers`, which is how a judge's verdict stores its answers."""
    return _NO_ANSWER.findall(reason.detail)


def checklist_schema(questions: Sequence[JudgeQuestion]) -> Json:
    """The JSON schema of the answers: yes or no under the name of each question."""
    answer = {"type": "string", "enum": ["yes", "no"]}
    names = [question.name for question in questions]
    return {
        "type": "object",
        "properties": dict.fromkeys(names, answer),
        "required": names,
        "additionalProperties": False,
    }


def read_checklist(text: str, logprobs: Any, names: Sequence[str]) -> dict[str, float] | None:
    """Map question name to P(yes); None if any question is not answered with exactly one of yes and no.

    Accepted forms are JSON, also with an object per question, and lines `NAME: yes`.
    """
    answers = {}
    for name in names:
        votes = {_WORDS[match[1].lower()] for match in _answer_pattern(name).finditer(text)}
        if len(votes) != 1:
            return None
        p = p_yes(logprobs, name)
        answers[name] = float(votes.pop()) if p is None else p
    return answers


def p_yes(logprobs: Any, name: str) -> float | None:
    """P(yes) of the question `name` from the log-probabilities of a choice in OpenAI's format; None if they do not show
    it."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list) or not all(isinstance(entry, dict) for entry in content):
        return None
    tokens = [str(entry.get("token") or "") for entry in content]
    matches = list(_answer_pattern(name).finditer("".join(tokens)))
    if not matches:
        return None
    end, place = 0, -1
    while end <= matches[-1].start(1):
        place += 1
        end += len(tokens[place])
    mass = {True: 0.0, False: 0.0}
    top = content[place].get("top_logprobs")
    others = (one for one in (top if isinstance(top, list) else ()) if isinstance(one, dict))
    logprob_of = {str(one.get("token")): one.get("logprob") for one in others}
    for token, logprob in {tokens[place]: content[place].get("logprob"), **logprob_of}.items():
        start_of_token = token.lstrip(_LEADING_MARKS).lower()
        readings = {
            yes
            for word, yes in _WORDS.items()
            if start_of_token and (start_of_token.startswith(word) or word.startswith(start_of_token))
        }
        if len(readings) == 1 and isinstance(logprob, int | float) and math.isfinite(logprob):
            mass[readings.pop()] += math.exp(min(0.0, logprob))
    known = mass[True] + mass[False]
    return mass[True] / known if known > 0 else None


def _answer_pattern(name: str) -> re.Pattern[str]:
    # A question may be named "true" or "no". Before a comma or the end of a line, such a word is the answer to the
    # previous question, and in `{"name": ..., "answer": ...}` the word right after "name" is the question's name; the
    # answer must come from the same object. Tables and Markdown may put many marks and spaces between name and answer.
    name, is_word = re.escape(name), name in _WORDS
    between = r"[^\w,\n]{1,40}" if is_word else r"(?:\W{1,5}|[^\w,\n]{1,40})"
    labelled = r"(?:name|question|id)\W{1,6}" if is_word else ""
    json = r"[\s:,{\"']{0,20}"  # only JSON punctuation, because prose may read `It is calm. Verdict: no`
    separate = rf"{labelled}{name}[\"']{json}(?:answer|verdict|value|result)\W{{1,5}}"
    word = "yes|no|true|false"
    end = rf"(?!\w|\s?(?:/|\bor\b)\s?(?:{word}))"
    return re.compile(rf"(?<!\w)(?:{name}{between}|{separate})({word}){end}", re.IGNORECASE)

"""Gates take time linear in the length of a text, whatever it repeats."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cache
from itertools import product, starmap
from pathlib import Path

import pytest

from curate.gates import GateStep, gates_for
from curate.gates.folding import shorten_runs
from curate.gates.judgement import run_gate
from curate.gates.making import quoted_mail
from curate.gates.units import _margin, find_conversions, in_base_units, quantities
from schemas.kinds import with_defaults
from schemas.records import Imported, Pair
from schemas.spec import Spec

RUNS = [
    *"\n a1-(«|#*",
    "\u0301",
    "\n ",
    "a\n",
    "a ",
    "1 ",
    "1.",
    "«a",
    "中。",
    "「あ",
    "1€",
    "not ",
    "- a\n",
    "| a ",
    "# \n",
    "a,",
    "``` a ",
    "/* a ",
    "# ... a ",
]
ENDLESS = ("\n", "a")  # models that do not stop generate these, so a quick run tries them
SHORT = "The red fox sat by 3 mills, not by 4. I can't say why."


@cache
def steps() -> list[GateStep]:
    """Every text gate, once."""
    steps: dict[str, GateStep] = {}
    for kind in ("rewrite", "translate"):
        task = {"name": "runs", "kind": kind, "style": "Write it well.", "language": "en"}
        task |= {"to": "de"} if kind == "translate" else {}
        spec = Spec.model_validate(with_defaults({"task": task, "curate": {"gates": {"pii": True}}}))
        steps |= {step.by: step for step in gates_for(spec.task, spec.curate.gates, Path()) if step.by not in steps}
    return list(steps.values())


def seconds(step: GateStep, input: str, output: str) -> float:
    """In processor time."""
    pair = Pair(seed_id="s", input=input, output=output, system="", origin=Imported(source="t"))
    began = time.process_time()
    assert run_gate(step, pair).keep is not None
    return time.process_time() - began


def slow_gates(run: str) -> list[tuple[str, str, str, float]]:
    """The gates that take over a second for 40,000 characters of a run, or over three times as long as for half of
    it."""
    slow = []
    for step, around, place in product(steps(), ("{}", "The red fox {} sat by 3 mills."), ("output", "input", "both")):

        def taken(length: int, around: str = around, place: str = place, step: GateStep = step) -> float:
            text = around.format((run * length)[:length])
            input, output = {"output": (SHORT, text), "input": (text, SHORT), "both": (text, f"{text} a")}[place]
            return seconds(step, input, output)

        # Measured again, with caches filled, and three times: other processes may empty those of the processor.
        if (once := taken(40_000)) > 0.25 and all(_is_slow(taken, again) for again in range(1, 4)):
            slow.append((step.by, around, place, once))
    return slow


def _is_slow(taken: Callable[[int], float], again: int) -> bool:
    long, short = (min(taken(length - 2 * again), taken(length + 1 - 2 * again)) for length in (40_000, 20_000))
    return long > 1 or (long > 0.25 and long > 3 * short)


@pytest.mark.parametrize(
    "run", [run if run in ENDLESS else pytest.param(run, marks=pytest.mark.slow) for run in RUNS], ids=repr
)
def test_time_is_linear_in_repetitive_text(run: str) -> None:
    """40,000 characters of one run, alone or within a sentence, in the output, the input or both, take no gate a
    second, nor three times as long as 20,000. It used to be 9 s for 24,000 blank lines, growing with the square."""
    assert slow_gates(run) == []


@pytest.mark.slow
@pytest.mark.parametrize("run", ["a|", "select a ", ")a:b ", '"ab" ', "<!--a ", "\n \n\n", "[url=a ", "(ab) "])
@pytest.mark.parametrize("style", ["No questions, no lists. Answer as XML, only the code.", "A query in Python."])
def test_time_is_linear_under_a_style_that_demands_something(run: str, style: str) -> None:
    """A hundred thousand characters of markup without an end, of code or quotations take no gate two seconds. Bars of
    a wiki template took 7, comments 9."""
    task = {"name": "runs", "kind": "free", "style": style, "language": "en"}
    spec = Spec.model_validate(with_defaults({"task": task}))
    text = ("[{{\ndef f(" + run * 50_000)[:100_000]
    slow = {
        step.by: took
        for step in gates_for(spec.task, spec.curate.gates, Path())
        if (took := seconds(step, "pool?", text)) > 2
    }
    assert slow == {}


def test_head_of_a_quoted_mail_is_sought_in_linear_time() -> None:
    """`init --from` searches the texts of a file as they are: 12,000 blank lines took 3 s."""
    began = time.process_time()
    assert not any(quoted_mail((run * 100_000)[:100_000] + "---") for run in ("\n", "---\n", "-", "- ", "a: @ ", "1"))
    assert time.process_time() - began < 1


@pytest.mark.parametrize(
    "text",
    [
        "; ".join(f"item{number % 977} {number}" for number in range(4_500)),
        " ".join(map(str, range(9_000))),
        "3:1 4-5 " * 7_500,
    ],
    ids=["a list", "numbers", "ratios"],
)
def test_long_list_of_numbers_is_not_compared_pairwise(text: str) -> None:
    """Swapped numbers are only searched for among numbers that now have other words next to them; 4,500 items used to
    take some 40 s."""
    (swapped,) = (step for step in steps() if "/swapped@" in step.by)
    assert seconds(swapped, text, f"{text[:20_000]} and more {text[20_000:]}") < 5


def test_runs_are_shortened_and_other_texts_unchanged() -> None:
    """Long runs of signs and endless words are shortened; words, lines and tables do not change."""
    assert shorten_runs("a" + "\n" * 5_000 + "b") == "a" + "\n" * 1_000 + "b"
    assert shorten_runs("x" * 5_000) == "x" * 1_000
    assert len(shorten_runs("«" * 20_000 + "a" * 20_000)) == 2_000
    for text in ("A short line.\n\n\nAnother.", "|---|---|\n| a | b |", "z" * 1_000, "-" * 999, "中文没有空格。" * 400):
        assert shorten_runs(text) == text


def test_word_of_a_million_digits_is_shortened_at_once() -> None:
    """It is searched for letters of scripts without spaces, not read 500 characters on from each of its characters,
    which took over 3 s."""
    began = time.process_time()
    assert shorten_runs("1" * 1_000_000) == "1" * 1_000
    assert time.process_time() - began < 1
    assert shorten_runs("1" * 600 + "中" * 600) == "1" * 600 + "中 " + "中" * 500 + " " + "中" * 99


def keeps(input: str, output: str, *gates: str) -> None:
    """Assert that none of these gates rejects or flags the pair."""
    pair = Pair(seed_id="s", input=input, output=output, system="", origin=Imported(source="t"))
    selected = [step for step in steps() if step.by.partition("/")[2].partition("@")[0] in gates]
    assert len(selected) == len(gates)
    judgements = [run_gate(step, pair) for step in selected]
    assert [judgement for judgement in judgements if judgement.keep is not True or judgement.flags] == []


def test_closing_brackets_of_nested_json_are_not_a_run() -> None:
    """Ten levels with four spaces each end in 200 characters: valid JSON was rejected as broken."""
    nested: object = "leaf"
    for _ in range(10):
        nested = {"next": nested}
    keeps("Write the tree as JSON.", json.dumps(nested, indent=4), "broken_json", "cut")


def test_empty_table_row_is_not_a_run() -> None:
    """Three empty columns of thirty spaces to be filled in: the table was rejected as cut."""
    wide = " " * 30
    table = f"| Name | Date | Signature |\n|---|---|---|\n| Ann | May | yes |\n|{wide}|{wide}|{wide}|"
    keeps("Make a form with a name, a date and a signature.", table, "cut")


def test_transcript_without_punctuation_is_read_to_its_end() -> None:
    """2,000 Chinese characters without punctuation are one word: once punctuation was added, numbers in the middle
    counted as invented."""
    clauses = [f"第{number}个客户昨天订了{7 * number + 131}箱苹果和一些别的东西" for number in range(10, 100)]
    assert len("".join(clauses)) > 2_000
    keeps("".join(clauses), "、".join(clauses) + "。", "invented", "lost_content")
    assert shorten_runs("".join(clauses)).replace(" ", "") == "".join(clauses)
    assert len(shorten_runs("x" * 20_000 + "中" * 2_000)) < 3_100


@cache
def steps_of(kind: str, to: str = "") -> list[GateStep]:
    task = {"name": "runs", "kind": kind, "style": "Write it well.", "language": "en", **({"to": to} if to else {})}
    spec = Spec.model_validate(with_defaults({"task": task}))
    return gates_for(spec.task, spec.curate.gates, Path())


LATIN = " ".join(f"{a}{b}ter{c}on" for a, b, c in product("bdgkl", "aeiou", "mnprst"))
CYRILLIC = LATIN.translate(str.maketrans("bdgklaeioumnprst", "бдгклаеиоумнпрст"))


@pytest.mark.parametrize(
    ("gate", "kind", "to", "input", "output"),
    [
        ("invented", "rewrite", "", "5 kg ", "5 kg "),
        ("swapped", "rewrite", "", "5 kg ", "5 kg "),
        ("swapped", "rewrite", "", "1. ", "1. "),
        ("lost_content", "rewrite", "", "hundred ", "hundred "),
        ("swapped", "reply", "", "1,", "yes "),
        ("translated", "translate", "ru", f"{LATIN} ", f"{CYRILLIC} "),
    ],
)
def test_time_is_linear_in_repeated_quantities_numbers_and_sounds(
    gate: str, kind: str, to: str, input: str, output: str
) -> None:
    """Forty thousand characters take no more than three times what eight times five thousand take: each quantity was
    compared with each other one, each part of a note with each clause that has its number, and a question was sought
    from every character. Endless `hundred`s became a number too long to be written."""
    (step,) = (step for step in steps_of(kind, to) if step.by.startswith(f"gate/{gate}@"))

    def taken(length: int) -> float:
        return min(seconds(step, *((one * length)[: length - at] for one in (input, output))) for at in range(3))

    taken(100)  # tables are loaded
    assert taken(40_000) < 3 * 8 * max(taken(5_000), 0.005)


def test_conversions_are_those_of_a_comparison_of_each_with_each() -> None:
    """The spans of sorted amounts give what comparing every number with every other one gave."""
    from itertools import count

    draw, units = count(7), ["km", "miles", "kg", "pounds", "°C", "°F", "metres", "feet", "hours", "minutes"]

    def text(length: int) -> str:
        numbers = ((next(draw) * 7919) % 1009 for _ in range(length))
        return "; ".join(f"{1 + number % 60} {units[number % len(units)]}" for number in numbers)

    def near(one: tuple[str, float], other: tuple[str, float]) -> bool:
        return one[0] == other[0] and abs(one[1] - other[1]) <= _margin(*one)

    seen = 0
    for length in range(1, 40):
        before, after = text(length), text(length)
        here, there = quantities(before, "en"), quantities(after, "en")
        pairs = [
            (one, other)
            for one, other in product(here, there)
            if one[1].isdisjoint(other[1]) and any(starmap(near, product(in_base_units(one), in_base_units(other))))
        ]
        expected = frozenset().union(*(one[0] for one, _ in pairs)), frozenset().union(*(two[0] for _, two in pairs))
        assert find_conversions(before, after, "en", "en") == expected
        seen += len(pairs)
    assert seen > 50

"""Kinds of task: a spec with a kind gets matching defaults, and everything the spec sets takes precedence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from schemas.errors import SpecError
from schemas.kinds import KINDS, DuplicateRule, KindName
from schemas.labels import distinct_labels, label_counts, label_in
from schemas.spec import Spec
from schemas.spec_file import parse

NEEDED = {
    "classify": 'labels = ["billing", "delivery"]',
    "extract": 'schema = "record.json"',
    "translate": 'to = "fr"',
}


def spec_of(kind: str, more: str = "", *overrides: str) -> Spec:
    text = f'[task]\nkind = "{kind}"\nname = "t"\nstyle = "s"\n{NEEDED.get(kind, "")}\n{more}'
    return parse(text, Path(), overrides).spec


def refusal(kind: str, task: str) -> str:
    with pytest.raises(SpecError) as caught:
        parse(f'[task]\nkind = "{kind}"\nname = "t"\nstyle = "s"\n{task}', Path())
    return str(caught.value)


def value_at(spec: Spec, key: str) -> Any:
    node: Any = spec.model_dump(mode="json")
    for part in key.split("."):
        node = node[part]
    return node


def test_every_kind_that_a_spec_may_name_has_a_row() -> None:
    """The values of `task.kind` and the rows of the table are the same."""
    assert tuple(KINDS) == get_args(KindName)
    assert {kind.duplicate for kind in KINDS.values()} == set(get_args(DuplicateRule))


@pytest.mark.parametrize("kind", KINDS)
def test_a_spec_of_a_kind_has_the_defaults_of_its_row(kind: str) -> None:
    """Each cell of the table is applied to the key it belongs to."""
    spec = spec_of(kind)
    for key, value in KINDS[kind].defaults.items():  # type: ignore[index]
        arrived = value_at(spec, key)
        assert {k: arrived[k] for k in value} == value if isinstance(value, dict) else arrived == value, key


def test_dump_of_the_rewrite_kind_has_no_new_keys() -> None:
    """A spec without a kind, or with the first one, is dumped without any key that did not exist before kinds."""
    plain = Spec.model_validate({"task": {"name": "t", "style": "s"}})
    assert plain == spec_of("rewrite")
    assert set(plain.model_dump(mode="json")["task"]) == {"kind", "name", "system", "style", "language"}
    assert not {"values", "translated"} & plain.model_dump(mode="json")["curate"]["gates"].keys()


def test_settings_of_the_spec_take_precedence() -> None:
    """A key, a gate that is switched off, and a sampling as a whole. Other keys beside them keep the kind's
    defaults."""
    spec = spec_of(
        "extract",
        "[generate.forward]\nn = 3\nsampling = { top_p = 0.5 }\n"
        "[curate.gates]\nlanguage = true\nvalues = false\nlength = { max_words = 5 }\n",
    )
    assert (spec.generate.forward.n, spec.generate.forward.prompt) == (3, "extract")
    assert (spec.generate.forward.sampling.top_p, spec.generate.forward.sampling.temperature) == (0.5, None)
    gates = spec.curate.gates
    assert (gates.language, gates.values, gates.repetition) == (True, False, False)
    assert gates.length
    assert (gates.length.max_words, gates.length.min_words, gates.length.min_ratio) == (5, 1, 0)
    assert spec_of("free", "[curate.gates]\nlength = false\n").curate.gates.length is False


def test_an_override_changes_one_key_and_leaves_the_kinds_others() -> None:
    """`--set` of a key within one of the kind's settings, and of the kind itself, in any order."""
    cooler = spec_of("translate", "", "generate.forward.sampling.temperature=0.1")
    assert (cooler.generate.forward.sampling.temperature, cooler.generate.forward.sampling.max_tokens) == (0.1, 1024)
    assert cooler.generate.forward.prompt == "translate"
    assert spec_of("translate").generate.forward.sampling.temperature == 0, "other specs are not affected"
    other = spec_of("reply", "", "generate.forward.n=7", "task.kind=free")
    assert (other.generate.forward.n, other.generate.forward.prompt) == (7, "free")


@pytest.mark.parametrize(
    ("kind", "task", "message"),
    [
        ("classify", "", "a task of kind \"classify\" needs 'labels'"),
        ("extract", "", "a task of kind \"extract\" needs 'schema'"),
        ("translate", "", "a task of kind \"translate\" needs 'to'"),
        ("translate", 'to = "en"', "'to' and 'language' are both 'en'"),
        ("reply", 'labels = ["a", "b"]', "'labels' is only for kind = \"classify\""),
        ("classify", 'labels = ["a"]', "one label"),
        ("classify", 'labels = ["Billing", "other", "billing."]', "'Billing' and 'billing.' differ only in case"),
        ("classify", 'labels = ["a", ""]', "labels"),
        ("classify", 'labels = ["a", "b", "a"]', "'a' appears twice"),
        ("classify", "labels = [1, 2]", "labels"),
        ("classify", 'labels = ["a", "b"]\n[[exemplars]]\ninput = "x"\noutput = "c"', "'c' is not in task.labels"),
        ("classifi", "", "kind"),
    ],
)
def test_task_that_does_not_fit_its_kind_is_refused(kind: str, task: str, message: str) -> None:
    """Keys that a kind needs are required, and keys it does not use are not ignored."""
    assert message in refusal(kind, task)


def test_labels_may_have_definitions() -> None:
    """A table gives each label its meaning, a list gives none. The order is kept."""
    text = '[task]\nkind = "classify"\nname = "t"\nstyle = "s"\n[task.labels]\nzoo = "animals"\n"à part" = ""\n'
    assert list(parse(text, Path()).spec.task.labels.items()) == [("zoo", "animals"), ("à part", "")]
    assert list(spec_of("classify").task.labels) == ["billing", "delivery"]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("billing", "Billing"), ("BILLING.", "Billing"), ('"Billing"', "Billing"), (" „Billing“ ", "Billing"),
        ("**Billing**", "Billing"), ("change of  address", "Change of address"), ("返品。", "返品"), ("C++", "C++"),
        ("C", "C"), ("bill", None), ("Billing, please", None), ("", None), ("N/A", None),
        ("change_of_address", "Change of address"), ("Change-of-Address.", "Change of address"),
        ("문제없음", "문제 없음"), ("कोई-समस्या-नहीं", "कोई समस्या नहीं"), ("ไม่มีปัญหา", "ไม่มี ปัญหา"),
        ("no\u2011show", None), ("set\u2011up", "set-up"), ("set \u2013 up", "set-up"), ("نمی\u200cشود", "نمی شود"),
        ("tier 1", "tier_1"), ("Tier1", "tier_1"), ("tier 11", None), ("tier 1-1", None), ("5star", "5-star"),
        ("grade 1", "grade 1"), ("grade-1", None), ("12", None), ("1-2", "1-2"),
        ("no-show", "no-show"), ("NOSHOW", "noshow"), ("no show", None), ("changes of address", None),
    ],
)  # fmt: skip
def test_label_is_recognised_in_common_spellings(text: str, label: str | None) -> None:
    """Case, quotation marks, emphasis, a full stop and what separates words make no difference. Anything more does."""
    labels = ["Billing", "Change of address", "返品", "C", "C++", "문제 없음", "no-show", "noshow", "set-up", "tier_1"]
    labels += ["कोई समस्या नहीं", "ไม่มี ปัญหา", "نمی شود", "5-star", "grade 1", "grade -1", "1-2"]
    assert label_in(labels, text) == label


def test_spellings_of_a_label_are_counted_together() -> None:
    """The most frequent one names them."""
    texts = ["no-show", "no show", "No show.", "no show", "हल नहीं", "हल-नहीं", "हल नहीं", "1-2", "12"]
    assert label_counts(texts) == {"no show": 4, "हल नहीं": 3, "1-2": 1, "12": 1}
    assert distinct_labels(texts) == ["1-2", "12", "no show", "हल नहीं"]


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("İade", "İade"), ("iade", "İade"), ("İADE", "İade"), ("IADE", "İade"), ("İade".lower(), "İade"),
        ("Işık arızası", "Işık arızası"), ("IŞIK ARIZASI", "Işık arızası"), ("ışık arızası", "Işık arızası"),
        ("FATURA", "Fatura"), ("sinir", "sinir"), ("sınır", "sınır"), ("iptal etme", None),
    ],
)  # fmt: skip
def test_turkish_label_is_recognised_with_either_i(text: str, label: str | None) -> None:
    """I is the capital of a dotless i, and a program that ignores the language lowers it with a dot. Labels that differ
    only in the dot stay different."""
    labels = ["İade", "Işık arızası", "Fatura", "sinir", "sınır"]
    assert label_in(labels, text) == label
    assert distinct_labels([*labels * 2, *([text] if label else [])]) == sorted(labels)


# The manual


def shown(value: Any) -> str:
    """A default as it is written in a spec."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {shown(inside)}" for key, inside in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False)


def defaults_table() -> str:
    """Every key for which some kind has its own default, with one column per kind."""
    others = [name for name in KINDS if name != "rewrite"]
    keys = dict.fromkeys(key for name in others for key in KINDS[name].defaults)
    lines = [f"| key | {' | '.join(others)} |", f"|{'---|' * (len(others) + 1)}"]
    for key in keys:
        cells = [shown(KINDS[name].defaults[key]) if key in KINDS[name].defaults else "" for name in others]
        lines.append(f"| `{key}` | {' | '.join(f'`{cell}`' if cell else '' for cell in cells)} |")
    return "\n".join(lines)


def test_the_manual_shows_the_table_of_kinds() -> None:
    """docs/tasks.md has every cell: what a kind is, what it needs, its duplicate rule and flag, and its defaults."""
    manual = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    for name, kind in KINDS.items():
        needs, flag = (f" `{word}` " if word else " " for word in (kind.needs, kind.flag))
        assert f"| `{name}` | {kind.about} |{needs}| {kind.duplicate} |{flag}|" in manual
    assert defaults_table() in manual, f"write this into docs/tasks.md:\n{defaults_table()}"

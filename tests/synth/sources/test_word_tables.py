"""The words by which readers of seeds and prompts recognise things are data: the tables beside the modules."""

from __future__ import annotations

from prompts.languages import language_code, language_name
from synth.sources.table_edges import MISSING, are_totals
from synth.sources.turns import ROLES, TOOLS, parse_role


def test_names_of_speakers_lead_to_one_role() -> None:
    """Each name is in lower case, as it is looked up, and no name of a tool has a role."""
    assert {parse_role(name) for name in ROLES} == {"system", "user", "assistant"}
    assert all(parse_role(name.upper()) == role for name, role in ROLES.items() if name.isascii())
    assert parse_role("Khách hàng") == "user"
    assert not TOOLS & ROLES.keys()


def test_names_of_languages_lead_to_their_codes() -> None:
    """English, own and foreign names, codes with a region; an unknown code is not called by another language's name."""
    names = "German=de deutsch=de Tiếng_Việt=vi pt-BR=pt Englisch=en polaco=pl Hiszpański=es 德语=de İspanyolca=es"
    for name, code in (one.split("=") for one in names.split()):
        assert str(language_code(name.replace("_", " "))) == code
    assert language_code("Klingon") is None
    assert language_name("de") == "German"
    assert "xx" in language_name("xx")


def test_words_of_totals_and_missing_values() -> None:
    """A name of several words is one word of the table."""
    assert are_totals(["Tổng cộng:", "12", "30"])
    assert not are_totals(["tổng_cộng", "12", "30"])
    assert {"n/a", r"\n", "--"} <= MISSING

"""Good rows cut at a random place: what the gate `cut` notices, and short ends that are none."""

from __future__ import annotations

import random
import re
from pathlib import Path
from typing import Any

import pytest

from curate.gates import gates_for, judge_text
from curate.gates.damage import cut
from schemas.kinds import with_defaults
from schemas.records import Seed
from schemas.spec import Spec
from tests.curate.gates.test_gate_rates import rows, steps_of
from tests.curate.gates.test_gates import pair
from tests.curate.gates.test_gates_on_slips import code_of

SEES_AN_END = re.compile(r"[.!?…。।؟\uff01\uff1f\u06d4\d:;%)\]}>|`*_\"'”»]\W*\Z")


def cut_somewhere(output: str, draw: random.Random) -> str | None:
    """The first 40 to 95 % of a text, up to the end of a word; None if that looks like a whole text."""
    at = int(len(output) * draw.uniform(0.4, 0.95))
    space = re.search(r"\s", output[at:])
    end = output[: at + space.start()].rstrip() if space else output[:at]
    return None if SEES_AN_END.search(end) or (space and space[0] == "\n") else end


def test_four_of_five_texts_that_stop_inside_a_line_are_noticed() -> None:
    """Measured on 400 good rows of 30 languages that are cut at random, not on ends that somebody thought of."""
    draw, noticed = random.Random(5), list[bool]()
    written: list[dict[str, Any]] = [row for row in rows("good") if row["kind"] not in ("classify", "extract")]
    draw.shuffle(written)
    for row in written:
        end = cut_somewhere(row["output"], draw) if len(row["output"]) >= 60 else None
        if end is not None and len(noticed) < 400:
            (judged,) = judge_text(
                row["input"], end, [s for s in steps_of(row) if s.by.startswith("gate/cut@")]
            ).values()
            noticed.append(not judged.keep or bool(judged.flags))
    assert len(noticed) == 400
    assert sum(noticed) >= 0.78 * 400, sum(noticed)


@pytest.mark.parametrize(
    ("kind", "language", "given", "output", "code"),
    [
        ("reply", "en", "Dogs?", "Yes, you can: dogs are welcome in our garden rooms, at no extra", "unended"),
        ("reply", "it", "È in garanzia?", "Certo, ci mandi una foto e ripariamo la lampada senza", "unended"),
        ("reply", "en", "thinking of you", "Thank you. That really does mean a lot. x", ""),
        ("reply", "en", "Open?", "until nine", ""),
        ("reply", "th", "เปิดกี่โมง", "เปิดทุกวันตั้งแต่สิบโมงถึงสามทุ่มค่ะ ยกเว้นวันจันทร์", ""),
        ("rewrite", "en", "no loan", "Nobody can borrow it today, sorry. We also", "unended"),
        ("reply", "nl", "Fietsen?", "Ja leuk! Zullen we om tien uur bij de brug afspreken? Groetjes, Bram", ""),
        ("reply", "en", "Sizes?", "It's a medium. We also have it in S and XL", ""),
        ("reply", "ja", "ランチどう?", "いいですね!12時に駅前で", ""),
        ("free", "pl", "Podpis", "Warto było wstać o czwartej. Widok z Giewontu", ""),
        ("reply", "ro", "Vii?", "Da! Aduc și tortul", ""),
        ("rewrite", "en", "invite", "The table is set and everybody is coming. Anna Berger", ""),
        ("rewrite", "pl", "auto", "Samochód jest gotowy do odbioru od dziesiątej. Serwis", ""),
        ("rewrite", "zh", "停电", "各位住户:周六8点至11点停电,届时电梯也将停止使用。请尽量少开冰箱。物业", ""),
        ("rewrite", "zh", "停电", "各位住户:周六8点至11点停电,届时电梯也将停止使用。请大家尽量少开", "unended"),
        (
            "rewrite",
            "en",
            "steps",
            "Soup\n\n1. Chop the onions and the two leeks.\n2. Fry them.\n3. Season with",
            "unended",
        ),
        ("rewrite", "en", "steps", "1. Chop the onions\n2. Fry them\n3. Season", ""),
        ("rewrite", "en", "trip", "The old harbour wall at sunset, gulls and th", "unended"),
        ("rewrite", "en", "bag", "A leather bag with a pocket for laptops up to 14 dm", ""),
    ],
)
def test_short_ends(kind: str, language: str, given: str, output: str, code: str) -> None:
    """A few words after a whole sentence begin another one, unless they are a name; a reply is sentences."""
    assert code_of(cut(pair(given, output), language, kind=kind)) == code


@pytest.mark.parametrize(
    ("given", "output", "flagged"),
    [
        ("Wir versenden die Ware nach Eingang der Zahlung.", "We ship the goods after", True),
        ("我们将在收到货款后三个工作日内发货。", "Wir versenden die Ware innerhalb von drei Werktagen", True),
        ("Wir versenden die Ware nach Eingang der Zahlung.", "We ship the goods after receiving payment.", False),
        ("Das Haus auf dem Hügel", "The House on the Hill", False),
        ("Сегодня первым пришёл именно он.", "Today the first to come was", True),
        ("¡Cuidado con el perro grande!", "Beware of the big dog", False),
        ("We meet the others at 5 p.m.", "Wir treffen die anderen um 17 Uhr", False),
        ("He works for Miller & Sons Ltd.", "Er arbeitet bei der Firma Miller & Sons", False),
        ("Kostenlose Lieferung bis 5 km.", "Free delivery within 5 km of the shop", False),
        ("Schuhe bitte ausziehen.", "กรุณาถอดรองเท้าก่อนเข้า", False),
    ],
)
def test_translation_of_a_sentence_has_its_full_stop(given: str, output: str, flagged: bool) -> None:
    """Even a short one: the source shows that it is a sentence and no title."""
    language = "th" if "ก" in output else "de" if "Werktagen" in output else "en"
    assert bool(cut(pair(given, output), language, kind="translate").flags) is flagged


@pytest.mark.parametrize(("open_ends", "flagged"), [(0, True), (1, True), (3, False)])
def test_replies_of_a_chat_need_no_full_stop(tmp_path: Path, open_ends: int, flagged: bool) -> None:
    """Where one in ten of the user's own replies ends without one, the rest may as well."""
    task: dict[str, Any] = {"name": "chat", "kind": "reply", "style": "Answer.", "language": "en"}
    spec = Spec.model_validate(with_defaults({"task": task}))
    ends = ["Your table for two is ready at seven"] * open_ends + ["We have kept the table by the window."] * 17
    replies = [f"{number} of us are here. {end}" for number, end in enumerate(ends)]
    seeds = [Seed(kind="pair", text=f"table {n}?", reference=text, source="chat") for n, text in enumerate(replies)]
    (gate,) = (
        g for g in gates_for(spec.task, spec.curate.gates, tmp_path, seeds=seeds) if g.by.startswith("gate/cut@")
    )
    (judged,) = judge_text("ready?", "Yes, you can pick your order up at the front desk", [gate]).values()
    assert bool(judged.flags) is flagged

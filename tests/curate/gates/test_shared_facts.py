# ruff: noqa: RUF001 (Cyrillic, Turkish and Arabic)
"""What many imported outputs say although their inputs do not is no invention; what one of them says still is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from curate import curate, gates
from curate.gates import GateStep, gates_for, judge_text
from curate.gates.shared_facts import imported_sample, shared_facts
from curate.gates.usual_values import usual_values
from pairsmith.serve.pages.worked_examples import judge_examples
from pairsmith.user_file.doubts import hint_of_closing
from schemas.kinds import with_defaults
from schemas.project import Project
from schemas.records import Seed
from schemas.spec import Spec

ROWS = 12
# language, messages, replies to them, and closings of one or several colleagues
POOLS = {
    "es": (
        ["¿Cuándo llega mi pedido?", "¿Puedo devolverlo?"],
        ["Hola, tu pedido sale mañana.", "Claro que sí."],
        ["Un saludo,\nVivero Alba"],
    ),
    "en": (
        ["When does it ship?", "Can I return it?"],
        ["It ships tomorrow.", "Yes, you can."],
        ["Best,\nAnna from Veltron", "Kind regards,\nMike Stone\nVeltron Care\n+44 20 7946 0123, Mon-Fri 9 am to 5 pm"],
    ),
    "de": (
        ["Wann kommt das Paket?", "Kann ich umtauschen?"],
        ["Es geht morgen raus.", "Ja, das geht."],
        ["Mit freundlichen Grüßen\nJana Roth\nGärtnerei Lindner\nTel. 030 1234567, Lindenstraße 12"],
    ),
    "fr": (
        ["Quand arrive le colis ?", "Puis-je échanger ?"],
        ["Il part demain.", "Oui, c'est possible."],
        ["Cordialement,\nClaire Dubois\nBoutique Lumière", "Cordialement,\nHugo Morel\nBoutique Lumière"],
    ),
    "pt": (
        ["Quando chega?", "Posso trocar?"],
        ["Sai amanhã.", "Sim, é possível."],
        ["Atenciosamente,\nEquipe Casa Verde\nWhatsApp (11) 98765-4321, frete a partir de R$ 19,90"],
    ),
    "ru": (
        ["Когда придёт заказ?", "Можно обменять?"],
        ["Отправим завтра.", "Да, можно."],
        ["С уважением,\nАнна Петрова\nМагазин «Северный чай»", "С уважением,\nИгорь Смирнов"],
    ),
    "pl": (
        ["Kiedy przyjdzie paczka?", "Czy mogę wymienić?"],
        ["Wyślemy jutro.", "Tak, to możliwe."],
        ["Pozdrawiam,\nEwa Nowak\nSklep Zielony Kąt"],
    ),
    "tr": (
        ["Kargom ne zaman gelir?", "Değiştirebilir miyim?"],
        ["Yarın yola çıkıyor.", "Evet, mümkün."],
        ["Saygılarımla,\nElif Kaya\nYeşil Bahçe Destek Ekibi"],
    ),
    "zh": (
        ["订单什么时候到?", "可以换货吗?"],
        ["明天发货。", "可以换货。"],
        ["此致\n敬礼\n青山园艺客服 王丽女士\n电话:400-123-4567"],
    ),
    "ja": (
        ["いつ届きますか?", "交換できますか?"],
        ["明日発送いたします。", "はい、可能です。"],
        ["株式会社みどり園\n担当 佐藤\n電話 03-1234-5678"],
    ),
    "ar": (
        ["متى يصل طلبي؟", "هل يمكن الاستبدال؟"],
        ["سيُشحن غداً.", "نعم، يمكن."],
        ["مع أطيب التحيات،\nفريق متجر الواحة\nهاتف: 0112345678"],
    ),
}


def seed(message: str, reply: str) -> Seed:
    return Seed(kind="pair", text=message, reference=reply, source="replies.csv:1")


def replies(language: str) -> list[tuple[str, str]]:
    messages, answers, closings = POOLS[language]
    return [
        (f"{messages[at % 2]} ({at})", f"{answers[at % 2]} ({at})\n\n{closings[at // 2 % len(closings)]}")
        for at in range(ROWS)
    ]


def steps(language: str, seeds: Sequence[Seed] = (), kind: str = "reply") -> list[GateStep]:
    task = {"name": "t", "kind": kind, "style": "Answer politely.", "language": language}
    spec = Spec.model_validate(with_defaults({"task": task}))
    return gates_for(spec.task, spec.curate.gates, Path(), seeds=seeds)


def findings(message: str, reply: str, gates: list[GateStep]) -> set[str]:
    """The codes of what is rejected or flagged."""
    judged = judge_text(message, reply, gates).values()
    return {code for one in judged for code in (*one.flags, *([one.reason.code] if one.keep is False else []))}


INVENTED = {"invented_name", "invented_contact", "invented_number", "unended"}


@pytest.mark.slow
@pytest.mark.parametrize("language", POOLS)
def test_a_closing_that_the_imported_replies_share_is_not_invented(language: str) -> None:
    """Names, phone numbers, hours, prices and streets under the replies of a team are flagged in no reply, in any
    language, if the team's own replies share them, whether one of its members signs all of them or several do."""
    rows = replies(language)
    gates = steps(language, [seed(*row) for row in rows])
    assert not {code for row in rows for code in findings(*row, gates)} & INVENTED


@pytest.mark.slow
def test_without_the_others_such_a_closing_is_flagged() -> None:
    """The closings of these pools are flagged in most languages when a row is alone, so that the test above proves
    something."""
    flagged = {code for code in POOLS if any(findings(*row, steps(code)) & INVENTED for row in replies(code))}
    assert flagged >= {"es", "en", "de", "fr", "pt", "pl", "tr", "zh", "ja", "ar"}


def test_a_name_in_one_imported_reply_is_still_invented() -> None:
    """What one or two imported replies say is not known, and a teacher's signature under the replies is not either,
    however often it recurs: only pairs that were imported count."""
    rows = replies("en")
    seeds = [*(seed(*row) for row in rows), seed("Is it red?", "Yes.\n\nKind regards,\nNora Feldman")]
    generated = Seed(kind="input", text="Is it blue?", source="inputs.jsonl:1")
    assert shared_facts(seeds) == shared_facts([*(seed(*row) for row in rows), *[generated] * 3])
    assert "invented_name" in findings("Is it red?", "Yes.\n\nKind regards,\nNora Feldman", steps("en", seeds))


def test_the_name_of_a_customer_is_not_shared() -> None:
    """A name that replies take from their messages is not known to a reply whose message does not say it."""
    rows = [
        (f"Does it fit? {at}\nTom Hale", f"Dear Tom Hale,\n\nyes, it does. {at} Thank you, Tom Hale.")
        for at in range(9)
    ]
    assert not [part for part in shared_facts([seed(*row) for row in rows]) if "Hale" in part]


def test_python_judges_pairs_beside_each_other() -> None:
    """`curate(pairs, gates())` does not call the closing that the given pairs share invented, just as the command does,
    and a name in one of them is."""
    rows = [*replies("en"), ("Is it red?", "Yes.\n\nKind regards,\nNora Feldman")]
    pool = curate(rows, gates(style="Answer politely.", length=False, language=False), progress=False)
    flags = {row.pair.output: row.flags for row in pool.rows() if row.pair}
    assert [output for output, flagged in flags.items() if "invented_name" in flagged] == [rows[-1][1]]


def test_an_example_of_the_spec_is_judged_beside_the_imported_pairs(tmp_path: Path) -> None:
    """The setup page does not object to a worked example that is signed like the imported replies."""
    rows = [(f"Is lamp {at} in?", f"Hello,\n\nit is, as of {at}.{CLOSING}") for at in range(12)]
    shown = [{"input": "Is the sofa in?", "output": f"Hello,\n\nit is.{CLOSING}"}]
    task = {"name": "t", "kind": "reply", "style": "Answer politely."}
    on = {"gates": {"contacts": True, "facts": True}}
    spec = Spec.model_validate(with_defaults({"task": task, "exemplars": shown, "curate": on}))
    project = Project(folder=tmp_path, spec=spec)
    assert judge_examples(project, {})[0]["against"]
    assert not judge_examples(project, {}, [seed(*row) for row in rows])[0]["against"]


def test_a_shared_number_excuses_no_other_one() -> None:
    """That all replies end with hours of 9 to 5 does not make nine months known."""
    rows = [(f"lamp {at} back", f"Lamp {at} is back.\n\nWe are open from 9 am to 5 pm.") for at in range(9)]
    gates = steps("en", [seed(*row) for row in rows], kind="rewrite")
    assert "invented_number" not in findings("lamp back", "The lamp is back.\n\nWe are open from 9 am to 5 pm.", gates)
    assert "invented_number" in findings("lamp back", "The lamp is back with 9 months of warranty.", gates)


CLOSING = (
    "\n\nKind regards,\nMike Stone\nVeltron Care\n+44 20 7946 0123, Mon-Fri 9 am to 5 pm\nFull refund within 30 days."
)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("The sofa costs €479.90.", "invented_number"),
        ("We refund you the full price.", "promise"),
        ("To see it, please ask Siobhan Kearney about the sofa.", "invented_name"),
        ("To see it, please ask Mike Jones about the sofa.", "invented_name"),
        ("To see it, please ask Emma Stone about the sofa.", "invented_name"),
        ("Come to 9 Mill Street.", "invented_contact"),
    ],
)
def test_a_shared_closing_excuses_nothing_beside_it(text: str, code: str) -> None:
    """A telephone number, hours or an offer under a reply makes no price, street, promise or other name in the reply
    known, because the closing is left out before the rest is judged."""
    rows = [(f"Is lamp {at} in?", f"Hello,\n\nit is, as of {at}.{CLOSING}") for at in range(12)]
    gates = steps("en", [seed(*row) for row in rows])
    assert not findings("Is the sofa in?", f"Hello,\n\nit is.{CLOSING}", gates) & {*INVENTED, "promise"}
    assert code in findings("Is the sofa in?", f"Hello,\n\n{text}{CLOSING}", gates)


def test_another_number_in_a_shared_closing_is_invented() -> None:
    """A telephone number that begins like the shared one, and another name between shared lines, are not shared."""
    rows = [(f"Is lamp {at} in?", f"Hello,\n\nit is, as of {at}.{CLOSING}") for at in range(12)]
    gates = steps("en", [seed(*row) for row in rows])
    for there, instead in (("7946 0123", "7946 9999"), ("Mike Stone", "Nora Feldman")):
        assert INVENTED & findings("Is it in?", f"Hello,\n\nit is.{CLOSING.replace(there, instead)}", gates)


HOUSE = {
    "en": "You have 30 days to return it.\n\nKind regards,\nMike Stone\nVeltron Care\nMon-Fri 9 am to 5 pm",
    "de": "Sie haben 30 Tage Zeit.\n\nFreundliche Grüße\nPetra Lindner\nGärtnerei\nMo-Fr 9 bis 17 Uhr",
    "pl": "Na zwrot jest 30 dni.\n\nPozdrawiam,\nMarek Zieliński\nZielony Kąt\npn.-pt. 9-17",
    "vi": "Bạn có 30 ngày để trả hàng.\n\nTrân trọng,\nMinh Tuấn\nVườn Xanh\nThứ 2 đến thứ 6, 9 đến 17 giờ",
    "ja": "返品は30日以内です。\n\nみどり園\n担当 佐藤\n平日9時から17時",
    "ar": "لديك 30 يوماً للإرجاع.\n\nمع التحية،\nخالد منصور\nمتجر الواحة\nمن 9 إلى 17",
}
INSTEAD = {"30": "14", "17": "18", "5 pm": "6 pm", "Mike Stone": "Mike Storm", "Petra Lindner": "Petra Linden"}
INSTEAD |= {"Marek Zieliński": "Marek Zielony", "Minh Tuấn": "Minh Tú", "佐藤": "加藤", "خالد منصور": "خالد منير"}


@pytest.mark.slow
@pytest.mark.parametrize("language", HOUSE)
def test_a_changed_fact_of_the_house_is_flagged(language: str) -> None:
    """Another period, hour or signer than in all imported replies is flagged, in any language, and none of the imported
    replies is."""
    seeds = [seed(f"{at}?", f"({at})\n{HOUSE[language]}") for at in range(12)]
    gates = steps(language, seeds)
    assert "unusual" not in findings("12?", f"(12)\n{HOUSE[language]}", gates)
    changed = [(there, instead) for there, instead in INSTEAD.items() if there in HOUSE[language]]
    assert len(changed) == 3
    for there, instead in changed:
        assert "unusual" in findings("12?", f"(12)\n{HOUSE[language].replace(there, instead)}", gates), instead


@pytest.mark.parametrize(
    ("message", "reply"),
    [
        ("How long do repairs take?", "Repairs take up to 14 days.\n\nKind regards,\nMike Stone\nVeltron Care"),
        ("I have 14 days to return it?", "You have 14 days to return it."),
        ("And on Saturday?", f"On Saturdays we close at 2 pm.\n{HOUSE['en']}"),
        ("How long?", "For lamps, 60 days; else\nyou have 30 days to return it."),
    ],
)
def test_what_is_said_of_something_else_is_not_unusual(message: str, reply: str) -> None:
    """Another number among other words, one that the message says, and one beside the usual one are not flagged."""
    gates = steps("en", [seed(f"{at}?", f"({at})\n{HOUSE['en']}") for at in range(12)])
    assert "unusual" not in findings(message, reply, gates)


def test_long_outputs_are_compared_in_smaller_numbers() -> None:
    """What outputs have in common is computed whenever gates are built, so it takes seconds at most, however long the
    outputs are; one that is too long by itself does not keep the others out."""
    seeds = [
        seed("a?", "x" * 2_000_001),
        *(seed(f"{at}?", "y" * 300_000 + str(at)) for at in range(9)),
        seed("b?", "z"),
    ]
    sample = imported_sample(seeds)
    assert len(sample) == 7
    assert not any("x" in str(each.reference) for each in sample)


def test_the_opening_hours_of_the_house_are_no_other_day_than_the_message_names() -> None:
    """A closing that many imported replies have conflicts with no day or number of the message; the reply's own do."""
    closing = "\nOur lines are open Monday to Friday, for order 77."
    rows = [(f"Case {at}?", f"Case {at} is solved.{closing}") for at in range(12)]
    gates = steps("en", [seed(*row) for row in rows])
    assert not {"changed_date", "changed_number"} & findings("I wrote on Saturday.", f"It is solved.{closing}", gates)
    assert "changed_date" in findings("I wrote on Saturday.", f"It came on Sunday.{closing}", gates)


def test_a_value_that_often_differs_is_not_usual() -> None:
    """If more than one imported output in twenty has another value there, or colleagues sign in turns, nothing is
    usual."""
    names = ["Mike Stone", "Nora Feldman", "Hugo Morel"]
    outputs = [
        (f"{at}?", f"You have {30 if at % 10 else 14} days to return it.\nBest,\n{names[at % 3]}\nVeltron")
        for at in range(40)
    ]
    assert not [value for _, value, _ in usual_values(outputs) if value in ("30", "14") or "stone" in value]


def test_a_value_that_varies_is_not_shared() -> None:
    """Prices, days and times that several outputs have by chance are not known: the same words have other values in
    as many outputs. A value that nearly all have with these words is known."""
    prices, days = ["€19.90", "€29.90", "€49.90"], ["Monday", "Tuesday", "Friday"]
    rows = [
        (
            f"What about lamp {at}?",
            f"Hello,\n\nlamp {at} costs {prices[at % 3]} now, and shipping is €4.95 now. We send it on {days[at % 3]},"
            f" and it takes {at % 3 + 2} days to you, number {at}.",
        )
        for at in range(30)
    ]
    shared = shared_facts([seed(*row) for row in rows])
    assert [part for part in shared if any(map(str.isdigit, part))] == ["is €4.95 now"]
    assert not [part for part in shared if part in days]


def test_a_sample_of_many_pairs_is_the_same_in_any_order() -> None:
    """Inputs without outputs take no places of pairs, the order of the rows decides nothing, and colleagues who sign
    in turns are all known."""
    names = ["Mike Stone", "Nora Feldman", "Hugo Morel"]
    pairs = [seed(f"Is lamp {at} in?", f"Lamp {at} is.\n\nBest,\n{names[at % 3]}") for at in range(1_200)]
    assert {*names} <= {*shared_facts(pairs)}
    assert shared_facts(pairs) == shared_facts(pairs[::-1])
    inputs = [Seed(kind="input", text=f"Is rug {at} in?", source="inputs.jsonl:1") for at in range(1_200)]
    assert {*names} <= {*shared_facts([*inputs, *pairs[:12]])}


def test_labels_records_and_translations_share_nothing() -> None:
    """What a translation or record says comes from its input, however often it recurs."""
    pairs = [seed(f"Nr. {at} aus Köln", f"No. {at} from\n\nBest,\nMike Stone") for at in range(9)]
    assert shared_facts(pairs)
    assert not any(shared_facts(pairs, kind) for kind in ("translate", "extract", "classify"))


def test_gates_without_shared_facts_are_those_of_before() -> None:
    """A project without such pairs keeps its verdicts: the settings of its gates are unchanged."""
    assert shared_facts([]) == ()
    assert [step.fingerprint for step in steps("en")] == [step.fingerprint for step in steps("en", [])]


def test_init_asks_for_no_closing_that_is_none() -> None:
    """`init` names a last line that most outputs share, but no code fence and no line that the inputs have too, and
    asks to fill in a placeholder instead of asking the teacher for it."""
    asked = [f"Where is parcel {at}?" for at in range(9)]
    (hint,) = hint_of_closing([f"It is near. {at}\n\nBest,\nMike Stone" for at in range(9)], asked)
    assert "'Mike Stone', so it does not count as invented" in hint
    (hint,) = hint_of_closing([f"It is near. {at}\n\nBest,\n[Your Name]" for at in range(9)], asked)
    assert "'[Your Name]': fill it in" in hint
    assert not hint_of_closing([f"So:\n```\nx = {at}\n```" for at in range(9)], asked)
    assert not hint_of_closing(
        [f"Where is it? {at}\nMike Stone" for at in range(9)], [f"{a}\nMike Stone" for a in asked]
    )

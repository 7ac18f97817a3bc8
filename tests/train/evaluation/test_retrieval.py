"""Tests of the retrieval system, which shows the untuned base the training rows most similar to each input, and nothing
of the test."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.records import Message, Messages, Seed
from schemas.spec import Exemplar
from tests.train.evaluated import project
from tests.train.evaluation.test_systems import BASE, HERE, TUNED
from train.base_models.base_model import Base
from train.evaluation.prompt_room import Room, room_of
from train.evaluation.retrieval import LearnedRow, Nearest
from train.evaluation.shortened import examples_shown
from train.evaluation.systems import RETRIEVED, LocalModel, Model, Models, System, systems_of

ROWS = [Exemplar(input=text, output=f"{text}, in warm light") for text in ("a red clock", "old clocks", "two boats")]
MODELS = Models(Model(BASE, HERE), Model(TUNED, LocalModel(None, Path("a"))), None)


def input_seed(text: str) -> Seed:
    return Seed(kind="input", text=text, source=f"s:{text}")


def retrieval(folder: Path, rows: list[Exemplar], *seeds: Seed, **more: object) -> list[System]:
    systems = systems_of(project(folder, **more), seeds, MODELS, rows)
    return [system for system in systems if "retrieval" in system.names]


def characters_of_turns(messages: Messages) -> int:
    return sum(len(message.content) for message in messages if message.role != "system")


@pytest.mark.parametrize(
    ("query", "texts", "nearest"),
    [
        ("a clock", ["two boats", "a red clock", "a fox"], 1),
        ("订单晚了五天", ["两只船", "订单晚了三天,很抱歉", "一只狐狸"], 1),
        ("REFUND order", ["refund for my order", "reset the password", "order of magnitude"], 0),
        ("xyz", ["abc", "def"], 0),
    ],
)
def test_the_nearest_text_shares_most_characters(query: str, texts: list[str], nearest: int) -> None:
    """In any script and case, without a word list; if nothing is shared the order of the rows is kept."""
    assert Nearest(texts, [query]).order(query)[0] == nearest


@given(st.lists(st.text(max_size=30), max_size=12), st.text(max_size=30))
def test_the_order_is_a_permutation(texts: list[str], query: str) -> None:
    """Also for empty texts, none at all and unusual characters; the same query gives the same order."""
    order = [*Nearest(texts, [query]).order(query)]
    assert sorted(order) == [*range(len(texts))]
    assert order == [*Nearest(texts, [query]).order(query)]


def test_a_lookup_looks_only_at_texts_that_share_something() -> None:
    """Each lookup took several times the memory of the whole index, and as much time: 70 ms for each input of 20,000
    short rows. What does not resemble the input costs eight bytes a text."""
    texts = [" ".join(f"{number * word:05x}" for word in range(1, 40)) for number in range(1, 301)]
    nearest = Nearest(texts, [*texts, "zwyxzwyx"])
    tracemalloc.start()
    try:
        assert [*nearest.order("zwyxzwyx")] == [*range(300)]
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_rows_that_are_equally_near_keep_their_order() -> None:
    """Also among many: sums over all rows together had rounded equal rows to different numbers."""
    texts = [f"a red clock number {number % 7} on the wall of house {number % 11}" for number in range(3_000)]
    order = [*map(int, Nearest(texts, texts[:77]).order(texts[5]))]
    first = [at for at in order if texts[at] == texts[5]]
    assert order[: len(first)] == first == sorted(first)


def test_each_input_gets_its_nearest_rows_the_nearest_last(tmp_path: Path) -> None:
    """As many as few-shot shows (one in this spec), with the same style, decoded as the evaluation says."""
    clock, boats = input_seed("a clock on a wall"), input_seed("boats at sea")
    (system,) = retrieval(tmp_path, ROWS, clock, boats)
    assert (system.exemplars, system.decoding, system.model.local) == (1, "evaluation", HERE)
    shown = {seed.body: [m.content for m in system.messages(seed) if m.role != "system"] for seed in (clock, boats)}
    example, output, question = shown["boats at sea"]
    assert (example.endswith("two boats"), output) == (True, "two boats, in warm light")
    assert question.endswith("boats at sea")
    assert "clock" in shown["a clock on a wall"][0]
    few_shot = systems_of(project(tmp_path), [clock], MODELS, ROWS)[1]
    assert few_shot.messages(clock)[0] == system.messages(clock)[0]


def test_without_exemplars_retrieval_still_shows_rows(tmp_path: Path) -> None:
    """A project of imported pairs has no exemplars, but the strongest baseline without training is still measured. Rows
    with the same output, such as the levels of a backward seed, count once."""
    rows = [*ROWS, Exemplar(input="a red wall clock", output=ROWS[0].output)]
    (system,) = retrieval(tmp_path, rows * RETRIEVED, input_seed("a red wall clock, large"), exemplars=[])
    contents = [message.content for message in system.messages(input_seed("a red wall clock, large"))]
    assert len([text for text in contents if "warm light" in text]) == 3
    assert contents[-3].endswith("a red wall clock")
    assert contents[-2] == ROWS[0].output


@pytest.mark.parametrize(
    ("context", "shown"), [(400, ["two boats", "old clocks", "a red clock"]), (200, ["a red clock"])]
)
def test_the_farthest_rows_give_way_to_a_small_context(tmp_path: Path, context: int, shown: list[str]) -> None:
    """Rows are left out one by one, the farthest first, until prompt and answer fit."""
    clock = input_seed("a red clock on a wall")
    room = Room(context, 20, characters_of_turns)
    systems = systems_of(project(tmp_path, exemplars=[]), [clock], MODELS, ROWS, room)
    (system,) = [system for system in systems if "retrieval" in system.names]
    asked = [message.content for message in system.messages(clock) if message.role == "user"]
    assert [text.rpartition(": ")[2] for text in asked[:-1]] == shown
    assert room.count(system.messages(clock)) <= context - 20
    assert [one.range for one in system.shortened] == (["1 of 3"] if len(shown) == 1 else [])


def test_retrieval_without_room_for_a_row_is_left_out(tmp_path: Path) -> None:
    """It is no obstacle to a verdict, which says that retrieval cannot be used with this base, and nothing claims that
    it was measured."""
    room = Room(30, 20, characters_of_turns)
    systems = systems_of(project(tmp_path), [input_seed("a clock")], MODELS, ROWS, room)
    assert [system.names for system in systems] == [("base",), ("tuned",)]
    few_shot, retrieval = systems[0].shortened
    assert (few_shot.system, few_shot.range, retrieval.range) == ("few-shot", "none of 1", "none of 1")
    assert retrieval.in_words == (
        "retrieval cannot be used with this base: the base's context holds 30 tokens for prompt and answer, of which"
        " the answer gets 20, and not one training row fits beside an input"
    )
    shown = examples_shown(systems[0].names, systems[0].exemplars, systems[0].shortened)
    assert shown == "no examples (few-shot: none of 1 fit, retrieval: none of 1 fit)"


@pytest.mark.parametrize(("more", "context", "answer"), [
    ({"sampling": {"max_tokens": 64}}, 512, 64),
    ({"sampling": {"max_tokens": 400}}, 512, 256),
    ({"sampling": {"max_tokens": 400}, "vllm": True}, 512, 400),
    ({"sampling": {"max_tokens": 64}, "vllm": True, "vllm_args": ["--max-model-len=300"]}, 300, 64),
])  # fmt: skip
def test_the_answer_has_its_part_of_the_context(
    tmp_path: Path, more: dict[str, object], context: int, answer: int
) -> None:
    """The embedded server shortens `max_tokens` to what a prompt leaves, so a limit of most of the context must not
    crowd out every row. vLLM refuses a prompt that does not leave room for all of it."""
    (tmp_path / "config.json").write_text('{"max_position_embeddings": 512}')
    room = room_of(Base("b", tmp_path, "h"), project(tmp_path, evaluate=more).spec, {})
    assert room is not None
    assert (room.context, room.answer) == (context, answer)


def test_conversations_are_shown_as_turns(tmp_path: Path) -> None:
    """As the test input itself is: earlier turns without the task's words around them, in their roles, counted in the
    room for the prompt. A conversation that the assistant opened stays one text, because models refuse two answers in a
    row."""
    task = {"kind": "reply", "name": "t", "style": "Be kind."}
    user, assistant = (
        (lambda text: Message(role="user", content=text)),
        (lambda text: Message(role="assistant", content=text)),
    )
    rows = [
        LearnedRow(input="my clock stopped\nsince when?\nsince May", output="Sorry! (May)", last="since May",
                   turns=(user("my clock stopped"), assistant("since when?"))),
        LearnedRow(input="hello!\nmy clock is late", output="Sorry! (late)", last="my clock is late",
                   turns=(assistant("hello!"),)),
    ]  # fmt: skip
    seed = Seed(kind="conversation", source="s:1", reference="x",
                messages=(user("my clock stopped"), assistant("since when?"), user("since June")))  # fmt: skip
    shared = {"exemplars": [], "task": task, "curate": {}, "generate": {"forward": {"prompt": "reply/v1"}}}
    (system,) = retrieval(tmp_path, rows, seed, **shared)
    system_prompt, *turns = [(message.role, message.content) for message in system.messages(seed)]
    assert system_prompt[0] == "system"
    assert turns == [
        ("user", "hello!\nmy clock is late"), ("assistant", "Sorry! (late)"),
        ("user", "my clock stopped"), ("assistant", "since when?"), ("user", "since May"),
        ("assistant", "Sorry! (May)"),
        ("user", "my clock stopped"), ("assistant", "since when?"), ("user", "since June"),
    ]  # fmt: skip
    needed = characters_of_turns(system.messages(seed))
    for context, shown in ((needed, 2), (needed - 1, 1)):
        systems = systems_of(project(tmp_path, **shared), [seed], MODELS, rows, Room(context, 0, characters_of_turns))
        assert next(system.exemplars for system in systems if "retrieval" in system.names) == shown


def test_a_prompt_with_exemplars_in_a_text_shows_conversations_as_text(tmp_path: Path) -> None:
    """Such a prompt of one's own has no turns for them."""
    (tmp_path / "prompts" / "own").mkdir(parents=True)
    (tmp_path / "prompts" / "own" / "v1.jinja").write_text(
        '+++\nabout = "a"\n[variables]\nexemplars = "e"\ninput = "i"\n+++\n=== user ===\n'
        "{% for one in exemplars %}{{ one.input }} > {{ one.output }}\n{% endfor %}{{ input }}\n"
    )
    turns = (Message(role="user", content="my clock stopped"), Message(role="assistant", content="since when?"))
    rows = [LearnedRow(input="my clock stopped\nsince when?\nMay", output="Sorry!", turns=turns, last="May")]
    own = {"exemplars": [], "generate": {"forward": {"prompt": "own/v1"}}}
    (system,) = retrieval(tmp_path, rows, input_seed("a clock"), **own)
    assert [message.content for message in system.messages(input_seed("a clock"))] == [
        "my clock stopped\nsince when?\nMay > Sorry!\na clock"
    ]


def test_without_rows_there_is_no_retrieval(tmp_path: Path) -> None:
    """It would be the base under another name."""
    assert retrieval(tmp_path, [], input_seed("a clock")) == []


def test_rows_with_the_same_label_are_not_repetitions(tmp_path: Path) -> None:
    """In a classification many rows share a label, and all of them may be shown."""
    rows = [Exemplar(input=f"charged {n} times", output="billing") for n in range(9)]
    task = {"kind": "classify", "name": "t", "style": "s", "labels": ["billing", "delivery"]}
    (system,) = retrieval(tmp_path, rows, input_seed("charged twice"), exemplars=[], task=task, curate={})
    contents = [message.content for message in system.messages(input_seed("charged twice"))]
    assert len([text for text in contents if "billing" in text and "charged" not in text]) >= RETRIEVED

"""Answers of other APIs, and what stop texts leave of one: never a row, always a sentence that names the cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from schemas.errors import TeacherError
from schemas.records import Json
from synth.answers import clean, judged, schema_violation
from tests.synth.endpoints.test_first_answers import PAID, run
from tests.synth.loopback import LoopbackTeacher, Reply
from tests.synth.rig import input

COMPLETION: Json = {
    "object": "chat.completion",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "a dog"}}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 5},
}
TEXT = {"type": "text", "text": "a dog"}
STREAM: list[Json] = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("a ", "dog")]
OLLAMA: Json = {"model": "m", "message": {"role": "assistant", "content": "a dog"}, "done": True}
FORMS: dict[str, tuple[Any, str]] = {
    "JSON lines": (STREAM, "a stream of JSON lines"),
    "Ollama's stream": ([{**OLLAMA, "done": False}, OLLAMA], "JSON lines.*Ollama's own API.*OpenAI-compatible address"),
    "Ollama": (OLLAMA, "Ollama's own API.*http://localhost:11434/v1"),
    "data": ({"code": 0, "msg": "ok", "data": COMPLETION}, "an answer inside the field 'data'; use an address"),
    "data as a text": ({"code": 0, "data": orjson.dumps(COMPLETION).decode()}, "inside the field 'data'"),
    "result": ({"result": {"response": "a dog"}, "success": True}, "an answer inside the field 'result'"),
    "Anthropic": ({"type": "message", "content": [TEXT], "stop_reason": "end_turn"}, "Anthropic's Messages API"),
    "Responses": ({"object": "response", "output": [{"type": "message", "content": [TEXT]}]}, "OpenAI's Responses API"),
    "Gemini": ({"candidates": [{"content": {"parts": [TEXT]}, "finishReason": "STOP"}]}, "ends in /v1beta/openai"),
    "text completion": ({"choices": [{"index": 0, "text": "a dog", "finish_reason": "stop"}]}, "a text completion"),
    "generated text": ([[{"generated_text": "a dog"}]], "a list of generated texts"),
}


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_an_answer_of_another_api_is_named_with_what_to_do(form: str, tmp_path: Path) -> None:
    """Its text is in the answer, but not where a chat completion has it: no row is made of it, and the run ends soon
    with a sentence that names the form and the setting, not only the first characters of the body."""
    body, words = FORMS[form]
    content = b"\n".join(map(orjson.dumps, body if isinstance(body, list) else [body]))
    with LoopbackTeacher(lambda ask: Reply(body=content, delay_s=0.01)) as teacher:
        with pytest.raises(TeacherError, match=words):
            run(teacher, tmp_path, input(60), **PAID)
        assert len(teacher.asked) <= 30


SCHEMA: Json = {"type": "object", "required": ["name"], "properties": {"name": {"type": "string"}}}


@pytest.mark.parametrize("schema", [None, SCHEMA])
@pytest.mark.parametrize("ending", ["", "\n```"])
def test_a_code_block_whose_end_is_a_stop_text_is_removed(ending: str, schema: Json | None) -> None:
    """With the closing fence as a stop text, servers leave the opening one alone at the beginning: it became part of
    the row. Also where a server sends the stop text."""
    text = '```json\n{"name": "a dog"}'
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text + ending}}
    violation = None if schema is None else schema_violation(schema)
    verdict = judged(choice, violation, {}, {"messages": [], "stop": ["\n```"]}, 0)
    assert (verdict.status, clean(verdict.text)) == ("ok", '{"name": "a dog"}')


def test_a_code_block_that_was_not_closed_stays_as_it_is() -> None:
    """Without such a stop text an open fence is the model's own; a gate decides."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "```\nls"}}
    assert judged(choice, None, {}, {"messages": [], "stop": ["END"]}, 0).text == "```\nls"


@pytest.mark.parametrize("text", ["", '```json\n{"name": "a dog"}\n```'])
def test_an_answer_that_begins_with_a_stop_text_says_so(text: str) -> None:
    """Nothing is left of it, and the reason names the setting."""
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    verdict = judged(choice, None, {}, {"messages": [], "stop": "```"}, 0)
    assert verdict.status == "empty"
    assert "sampling.stop" in verdict.reason

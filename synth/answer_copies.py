"""Notices answers that a cache at the teacher's address returns again, for the same question or for another one."""

from __future__ import annotations

from typing import Any

import orjson

from schemas.progress import Say
from schemas.records import Json, Usage
from synth.chat.completions import CACHE, Answer

_REMEMBERED = 256
# Shorter ids may be those of several answers (Ollama's are numbers below 1,000, KoboldCpp's is constant), and shorter
# texts may be equal without being copies, as labels are.
_LONG_ID, _LONG_TEXT = 20, 32
_Kept = tuple[Json, list[Any], Usage | None]  # request, choices and tokens
COPY = "it is a copy of the answer to another question"  # stores contain it


class AnswerCopies:
    """The last answers of a teacher, by the ids of their responses.

    A cache that looks for the same request returns one answer for all samples of a question. One that looks for a
    similar question (LiteLLM, Portkey, Azure API Management) returns the answer to another one, which is no answer.
    It is recognized by the id, the choices and the token counts of the earlier answer, unless the server has given one
    id to two different answers; or by Portkey's header.
    """

    def __init__(self) -> None:
        self._last: dict[str, _Kept] = {}  # by the id
        self._are_reported = self._others_are_reported = self._ids_repeat = False

    def checked(self, answer: Answer, say: Say) -> Answer:
        """The answer; without its choices if it is a copy of the answer to another question. Copies are reported
        once."""
        name = answer.request_id.partition("/")[2]
        hit = str((answer.facts or {}).get(CACHE, ""))
        is_semantic = hit.startswith("SEMANTIC")
        if not (name or hit) or not answer.choices:
            return answer
        earlier = self._last.pop(name, None)
        if is_semantic:  # unless to this very question
            is_of_another = earlier is None or earlier[0]["messages"] != answer.request["messages"]
        else:
            is_of_another = earlier is not None and self._is_of_another(earlier, answer) and len(name) >= _LONG_ID
        if is_of_another:
            self._last |= {} if earlier is None else {name: earlier}
            if not self._others_are_reported:
                self._others_are_reported = True
                say(
                    "warning: A semantic cache at the teacher's address answers a question with the answer to another "
                    "one (same id and text, or so it says). Such answers are not used. Switch it off for this run "
                    "(LiteLLM: sampling.extra = { cache = { no-cache = true } })."
                )
            error = f"{COPY}, as a semantic cache returns it"
            copies = [{"error": error, "body": orjson.dumps(choice).decode()} for choice in answer.choices]
            return answer._replace(choices=copies)
        is_copy = earlier is not None and earlier[:2] == (answer.request, answer.choices) and bool(self._last)
        if (is_copy or hit) and answer.request.get("temperature") != 0 and not self._are_reported:
            self._are_reported = True
            why = "as it says" if hit else "two answers have the same id and text"
            say(
                f"A cache at the teacher's address answers repeated requests ({why}): "
                "candidates of an input are copies. Switch it off for this run (LiteLLM: sampling.extra = "
                "{ cache = { no-cache = true } }), or set sampling.seed, which makes the requests differ."
            )
        if not name:
            return answer
        self._last[name] = answer.request, answer.choices, answer.usage
        if len(self._last) > _REMEMBERED:
            del self._last[next(iter(self._last))]
        return answer

    def _is_of_another(self, earlier: _Kept, answer: Answer) -> bool:
        """Whether the answer to this question is that to the one before with its id."""
        request, choices, usage = earlier
        if request["messages"] == answer.request["messages"]:
            return False
        if choices != answer.choices or (usage and answer.usage and usage != answer.usage):
            self._ids_repeat = True
        return not self._ids_repeat and any(map(_is_long, choices))


def _is_long(choice: Any) -> bool:
    message = choice.get("message") if isinstance(choice, dict) else None
    return isinstance(message, dict) and len(str(message.get("content"))) >= _LONG_TEXT

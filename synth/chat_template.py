"""Freezes a model's chat template, so that training, evaluation, serving and export all render the same prompt.

A model's own template may depend on things outside the conversation: whether the model thinks first
(`enable_thinking`) and the current date (`strftime_now`). Some templates also refuse or drop a system message.
`freeze_template` resolves these inside the template's text. Every program that applies that text (TRL, vLLM,
transformers, pairsmith) then produces the same bytes, without passing any arguments. A template without such
dependencies is kept byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, NamedTuple

from schemas.errors import InputError

# The date for templates that write the current date; any fixed day would do.
_FIXED_DATE = date(2024, 7, 26)
_DATE = re.compile(r"""strftime_now\(\s*(["'])((?:(?!\1)[^\\])*)\1\s*\)""")
_FIXED_CLOCK = f"{{%- macro strftime_now(format) %}}{_FIXED_DATE.isoformat()}{{%- endmacro %}}"
_GENERATION = re.compile(r"\{%(-?)\s*(end)?generation\s*(-?)%\}")
_THINKING = "enable_thinking"
# Other arguments that switch thinking off (Kimi, Seed-OSS) and the values that do; set only if they change a prompt.
_OTHER_SWITCHES = {"thinking": False, "thinking_budget": 0}
# Nemotron thinks unless the system message contains this, and its template takes it out of the text.
_THINK_NOT = "/no_think"
# Its templates also look for both words in questions, where `/think` (or a link to `/thinkpads`) switches thinking on
# again and disappears. They are hidden from the template and put back into what it writes.
_HIDING = "\U000f5a5b"
_SWITCH_OFF = (
    "{%- set hidden = namespace(messages=[]) %}{%- for m in messages %}{%- set hidden.messages = hidden.messages + ["
    "{'role': m['role'], 'content': m['content'].replace('/think', '/Xthink').replace('/no_think', '/Xno_think')}"
    " if m['role'] in ['system', 'user'] and m['content'] is string else m] %}{%- endfor %}"
    "{%- set messages = hidden.messages %}{%- set given = messages[0]['role'] == 'system' %}"
    "{%- set messages = [{'role': 'system', 'content': (messages[0]['content'] ~ ' ' if given else '') ~ '/no_think'}]"
    " + (messages[1:] if given else messages) %}{%- set written %}"
).replace("X", _HIDING)
_SWITCHED_OFF = "{% endset %}{{- written.replace('/X', '/') }}".replace("X", _HIDING)
_MERGE_SYSTEM = (
    "{%- if messages[0]['role'] == 'system' and messages | length > 1 %}"
    "{%- set messages = [{'role': 'user', 'content': messages[0]['content'] + '\\n\\n' + messages[1]['content']}]"
    " + messages[2:] %}{%- endif %}"
)
# Templates that demand that user and assistant alternate refuse a chat that the assistant opened.
_EMPTY_QUESTION = (
    "{%- set opening = 1 if messages[0]['role'] == 'system' else 0 %}"
    "{%- if messages | length > opening and messages[opening]['role'] == 'assistant' %}{%- set messages ="
    " messages[:opening] + [{'role': 'user', 'content': ''}] + messages[opening:] %}{%- endif %}"
)
_SYSTEM, _USER, _ANSWER = "pairsmith-system", "pairsmith-user", "pairsmith-answer"
# <think>, [THINK], <|START_THINKING|>, <seed:think>: the tags with which model families open a reasoning block.
_REASONING_START = re.compile(
    r"([<\[]\|?(?:start_|begin_of_|\w+:)?(?:think|thinking|reasoning|thoughts?)\|?[>\]])\s*\Z", re.IGNORECASE
)
_OPEN_TAGS = re.compile(r"(?:<[\w:]+>\s*)+\Z")
# The end of text that only a prompt has, if it opens reasoning by words or by a tag that is not closed.
_OPENING = re.compile(r"([^\s>\]][^\n>\]]*|<[\w:]+>|\[\w+\])\s*\Z")
_QUESTION = ({"role": "user", "content": _USER},)
_EXCHANGE = (*_QUESTION, {"role": "assistant", "content": _ANSWER})
# A private-use character that marks where text that must not be read as a special token was taken out.
_MARK = "\U000f5a5a"


class Turn(NamedTuple):
    """The text that a template writes around an answer.

    `lead` is whitespace between prompt and answer (usually empty). `end` extends to the first special token after the
    answer and the whitespace that follows it: for SmolLM2 `<|im_end|>` and a newline, for Mistral `</s>`, for GLM
    `<|user|>`, which opens the next question. A token at the end of the whole conversation (Phi-3's `<|endoftext|>`) is
    not part of the turn. Generation stops at `end_token`.
    """

    lead: str
    end: str
    end_token: int


class Chat:
    """A tokenizer with its frozen chat template; the single place that turns conversations into tokens.

    `turn` is the text that the template writes around an answer. Creating a second `Chat` from the same tokenizer
    changes nothing.
    """

    def __init__(self, tokenizer: Any, arguments: Mapping[str, Any] | None = None) -> None:
        self.tokenizer = freeze_template(tokenizer, arguments)
        special = {str(token) for token in tokenizer.added_tokens_decoder.values() if str(token).strip()}
        self._special = re.compile("|".join(map(re.escape, sorted({*special, _MARK}, key=len, reverse=True))))
        self.turn = self._turn()

    def _turn(self) -> Turn:
        prompt, conversation = _render(self.tokenizer, _QUESTION, prompt=True), _render(self.tokenizer, _EXCHANGE)
        before, answer, after = conversation.rpartition(_ANSWER)
        token = self._special.match(after.lstrip())
        if token is None:  # e.g. GLM, where the start of the next question ends an answer
            after = _render(self.tokenizer, (*_EXCHANGE, *_QUESTION)).rpartition(_ANSWER)[2]
            token = self._special.match(after.lstrip())
        if not answer or token is None or token[0] == self.tokenizer.bos_token:
            what = "has a chat template that writes no end token after an answer"
            raise _unusable(self.tokenizer, what, "Choose an instruct model.")
        rest = after.lstrip()[token.end() :]
        end = after[: len(after) - len(rest.lstrip())]
        lead = before.removeprefix(prompt)
        is_lead = before.startswith(prompt) and not lead.strip()
        return Turn(lead if is_lead else "", end, int(self.tokenizer.convert_tokens_to_ids(token[0])))

    @property
    def turn_token(self) -> str:
        """The text of the token that ends a turn."""
        return str(self.tokenizer.convert_ids_to_tokens(self.turn.end_token))

    def end_tokens(self, named: int | Sequence[int] | None = None) -> list[int]:
        """Every token that ends an answer: those `named` by the generation config, the tokenizer's own, and the end of
        the turn."""
        listed = [named] if isinstance(named, int) else list(named or ())
        eos = self.tokenizer.eos_token_id
        return list(dict.fromkeys(token for token in (*listed, eos, self.turn.end_token) if token is not None))

    def prompt(self, messages: Sequence[Mapping[str, str]]) -> str:
        """The conversation as text, up to where the assistant's answer starts."""
        return _render(self.tokenizer, messages, prompt=True)

    def prompt_ids(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """The tokens of `prompt`.

        Special tokens spelled out in a message ("<|im_end|>") are tokenised as plain text, so a message can never end
        its own turn or open another role.
        """
        spelled_tokens: list[str] = []

        def lift(match: re.Match[str]) -> str:
            spelled_tokens.append(match.group())
            return _MARK

        safe = [{**message, "content": self._special.sub(lift, message["content"])} for message in messages]
        first, *others = self.prompt(safe).split(_MARK)
        ids = self._ids(first)
        for text, piece in zip(spelled_tokens, others, strict=True):
            ids += [*self._ids_mid_text(text, plain=True), *self._ids_mid_text(piece)]
        return ids

    def answer_ids(self, messages: Sequence[Mapping[str, str]], answer: str) -> tuple[list[int], list[int]]:
        """The tokens of the prompt, exactly as in evaluation, and the tokens that the model must generate: the answer
        and the end of its turn.

        If the tokenizer would merge characters across the boundary between them, the answer is tokenised separately.
        """
        prompt, text = self.prompt_ids(messages), self.turn.lead + answer
        spelled = self._special.search(text) is not None
        ids = [] if spelled else self._ids(self.prompt(messages) + text)
        follows = len(ids) > len(prompt) and ids[: len(prompt)] == prompt
        learned = ids[len(prompt) :] if follows else self._ids_mid_text(text, plain=spelled)
        return prompt, [*learned, *self._ids(self.turn.end)]

    def _ids_mid_text(self, text: str, *, plain: bool = False) -> list[int]:
        """Tokens of `text` in the middle of a longer text: some tokenizers add a space before the very first word."""
        head, ids = self._ids("\n", plain=plain), self._ids("\n" + text, plain=plain)
        return ids[len(head) :] if ids[: len(head)] == head else self._ids(text, plain=plain)

    def plain_ids(self, text: str) -> list[int]:
        """Tokens of `text`; special tokens spelled out in it are treated as plain text."""
        return self._ids(text, plain=True)

    def _ids(self, text: str, *, plain: bool = False) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=plain).input_ids
        return ids


def freeze_template(tokenizer: Any, arguments: Mapping[str, Any] | None = None) -> Any:
    """Replace the chat template of `tokenizer` by its frozen form, and return the tokenizer. Idempotent.

    - `arguments` (the spec's `train.template_arguments`) become constants; thinking is off unless they enable it.
    - Of several templates the default is taken, as transformers does.
    - The current date becomes a fixed day.
    - `{% generation %}` marks for trainers, which most servers cannot parse, become blocks without effect.
    - Text that the template writes before an answer, but not at the end of a prompt, is added to the prompt: the head
      of the turn if the template ignores `add_generation_prompt`, or the empty reasoning block or channel of a model
      that would think first, or the end of a block that is still open. This is skipped if the spec enables thinking.
    - If the template refuses or drops a system message, the system message is put at the start of the first user turn,
      followed by an empty line, as Gemma 3 does by itself.
    - If it refuses or drops a greeting, with which many support chats begin, an empty question is put before it.

    Raises InputError if there is no single chat template, if it cannot render a plain conversation, or if its prompt
    ends inside a reasoning block, so that an answer would be mistaken for reasoning, or with the first words of one, or
    if the question is not in it.
    """
    template = tokenizer.chat_template
    if isinstance(template, Mapping):
        template = template.get("default")
    if not isinstance(template, str) or not template:
        fix = "Choose an instruct model, or put a chat_template.jinja into the folder of this one."
        raise _unusable(tokenizer, "has no single chat template", fix)
    template = _GENERATION.sub(_as_noop_block, template)
    template = _DATE.sub(lambda match: json.dumps(_FIXED_DATE.strftime(match[2])), template)
    # A computed format, another name for the clock, or a test whether there is one, which not every server has.
    if "strftime_now" in template and _FIXED_CLOCK not in template:
        template = _FIXED_CLOCK + template
    given = ({_THINKING: False} if _THINKING in template else {}) | dict(arguments or {})
    constants = _constants(given)
    template = template.removeprefix(constants)
    constants += (switches := _other_switches(tokenizer, constants, template, given))
    if not given.get(_THINKING) and _is_switched_by_text(tokenizer, constants + template):
        template = _SWITCH_OFF + template.removesuffix("\n") + _SWITCHED_OFF
    tokenizer.chat_template = constants + template
    prompt = _prompt_with_text(tokenizer)
    head = _prompt_head(tokenizer, prompt) or (_closing(prompt, template) if switches else "")
    if head and not (arguments or {}).get(_THINKING):
        ending = f"{{%- if add_generation_prompt %}}{{{{- {json.dumps(head, ensure_ascii=False)} }}}}{{%- endif %}}"
        tokenizer.chat_template = constants + template + ending
        if _render(tokenizer, _QUESTION, prompt=True) == prompt + head:
            prompt, template = prompt + head, template + ending
        tokenizer.chat_template = constants + template
    if not _keeps_system(tokenizer):
        tokenizer.chat_template = constants + _MERGE_SYSTEM + template
        if not _keeps_system(tokenizer):
            raise _unusable(
                tokenizer, "has a chat template that drops the system message", "Choose another base model."
            )
    if not _keeps_greeting(tokenizer):
        tokenizer.chat_template = constants + _EMPTY_QUESTION + (settled := tokenizer.chat_template)[len(constants) :]
        if not _keeps_greeting(tokenizer):
            tokenizer.chat_template = settled
    before = _render(tokenizer, _EXCHANGE).rpartition(_ANSWER)[0]
    only_prompt = prompt.removeprefix(before) if prompt.startswith(before) else ""
    if block := _REASONING_START.search(prompt) or _OPENING.search(only_prompt):
        fix = "Choose a model that can answer without thinking, or set the argument in train.template_arguments."
        raise _unusable(tokenizer, f"has a chat template that opens {block[1]} before the answer", fix)
    return tokenizer


def _other_switches(tokenizer: Any, constants: str, template: str, given: Mapping[str, Any]) -> str:
    """Further constants, which switch off the thinking that `template` leaves on after those of `given`."""

    def prompt(constant: str = "") -> str | None:
        tokenizer.chat_template = constants + constant + template
        try:
            return _render(tokenizer, _QUESTION, prompt=True)
        except InputError:
            return None

    names = [] if given.get(_THINKING) else [name for name in _OTHER_SWITCHES if name in template and name not in given]
    switches = [_constants({name: _OTHER_SWITCHES[name]}) for name in names]
    unchanged = {None, prompt()} if names else {None}
    return "".join(switch for switch in switches if prompt(switch) not in unchanged)


def _is_switched_by_text(tokenizer: Any, template: str) -> bool:
    """Whether `/no_think` in a system message changes more of the prompt than spaces without appearing in it: it
    switches thinking off, which is still on. Leaves `template` as the tokenizer's."""
    tokenizer.chat_template = template
    if _THINK_NOT not in template or _SWITCH_OFF in template:
        return False
    try:
        conversations = (({"role": "system", "content": _SYSTEM + more}, *_QUESTION) for more in ("", f" {_THINK_NOT}"))
        plain, switched = ("".join(_render(tokenizer, asked, prompt=True).split()) for asked in conversations)
    except InputError:  # it refuses a system message
        return False
    return switched != plain and _THINK_NOT not in switched


def _prompt_with_text(tokenizer: Any) -> str:
    """The prompt of a question, which must contain its text: some templates for images expect a list of parts."""
    if _USER not in (prompt := _render(tokenizer, _QUESTION, prompt=True)):
        what = "has a chat template that drops or changes the text of a message"
        raise _unusable(tokenizer, what, "Choose a base model that is asked in plain text.")
    return prompt


def _prompt_head(tokenizer: Any, prompt: str) -> str:
    """The text that the template writes between a question and its answer but leaves out of a prompt. Without a
    trailing space, which belongs to the answer (`Turn.lead`)."""
    before = _render(tokenizer, _EXCHANGE).rpartition(_ANSWER)[0]
    head = before.removeprefix(prompt) if before.startswith(prompt) else ""
    return head.rstrip(" ") if head.strip() else ""


def _closing(prompt: str, template: str) -> str:
    """The end tags of the reasoning block in which a prompt ends although thinking was switched off, if the template
    knows them: Seed-OSS leaves the block open, for the model to write that it has no budget and to close it."""
    opened = _OPEN_TAGS.search(prompt)
    tags = [f"</{name}>" for name in re.findall(r"<([\w:]+)>", opened[0])[::-1]] if opened else []
    return "".join(tags) if all(tag in template for tag in tags) else ""


def _render(tokenizer: Any, messages: Sequence[Mapping[str, str]], *, prompt: bool = False) -> str:
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=prompt))
    except Exception as error:  # a template is third-party code and may raise anything
        what = f"has a chat template that cannot render the conversation: {str(error).rstrip('.')}"
        fix = "Check the order of its turns; otherwise fix the template, or choose another base model."
        raise _unusable(tokenizer, what, fix) from None


def _as_noop_block(match: re.Match[str]) -> str:
    """`{% if true %}` for `{% generation %}`, with the same whitespace control."""
    return f"{{%{match[1]} {'endif' if match[2] else 'if true'} {match[3]}%}}"


def _keeps_system(tokenizer: Any) -> bool:
    messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _USER}]
    try:
        return _SYSTEM in _render(tokenizer, messages, prompt=True)
    except InputError:
        return False


def _keeps_greeting(tokenizer: Any) -> bool:
    """Whether it is written with and without a system message before it."""
    system, greeted = {"role": "system", "content": _SYSTEM}, [{"role": "assistant", "content": _ANSWER}, *_QUESTION]
    try:
        prompt, alone = (_render(tokenizer, messages, prompt=True) for messages in ([system, *greeted], greeted))
    except InputError:
        return False
    is_in_the_question = f"{_SYSTEM}\n\n{_ANSWER}" in prompt  # `_MERGE_SYSTEM` takes it for one
    is_kept = all(text in written for text in (_ANSWER, _USER) for written in (prompt, alone))
    return _SYSTEM in prompt and is_kept and not is_in_the_question


def _constants(given: Mapping[str, Any]) -> str:
    return "".join(f"{{%- set {name} = {_literal(value)} %}}" for name, value in sorted(given.items()))


def _literal(value: Any) -> str:
    """A Jinja constant: `none` for None, otherwise written as in JSON."""
    return "none" if value is None else json.dumps(value)


def _unusable(tokenizer: Any, what: str, fix: str) -> InputError:
    return InputError(f"the base model {what}.", where=str(tokenizer.name_or_path), fix=fix)

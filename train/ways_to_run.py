"""How to run an exported model elsewhere: a snippet for transformers, a command for vLLM, a Modelfile for Ollama, and
the generation config that all of them read. Every one asks with the prompt and the decoding that were measured."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from schemas.errors import InputError
from schemas.records import Sampling
from synth.chat_template import Chat
from train.remote_code import is_named
from train.results import TrainResult

# Tokens of context in Ollama, as long as no row is longer.
_CONTEXT = 4096
# The ranks that vLLM takes.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
_SNIPPET = """from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
{imports}
FOLDER = "{folder}"
tokenizer = AutoTokenizer.from_pretrained(FOLDER{own_code})
model = {load}
messages = {messages}
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")
answer = model.generate(**inputs, generation_config=GenerationConfig.from_pretrained(FOLDER))
print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))"""
# A message that no template writes by itself.
_SAID = "pairsmith-said"
_MODEL = 'AutoModelForCausalLM.from_pretrained({place}, dtype="auto"{own_code})'


def snippet(trained: TrainResult, folder: str = "THIS_FOLDER") -> str:
    """Python that asks the model in `folder` one question."""
    merged = trained.settings.method == "qlora"
    messages = [{"role": "user", "content": "YOUR INPUT"}]
    if trained.system_prompt:
        messages.insert(0, {"role": "system", "content": trained.system_prompt})
    own_code = ", trust_remote_code=True" if is_named(trained.settings.base, trained.settings.trust_remote_code) else ""
    model = _MODEL.format(place="FOLDER" if merged else f'"{trained.base}"', own_code=own_code)
    return _SNIPPET.format(
        folder=folder,
        imports="" if merged else "from peft import PeftModel\n",
        load=model if merged else f"PeftModel.from_pretrained({model}, FOLDER)",
        own_code=own_code,
        messages=json.dumps(messages, ensure_ascii=False),
    )


def vllm_command(trained: TrainResult, folder: str = "THIS_FOLDER") -> str:
    """The command that serves the model as `tuned`."""
    own_code = " --trust-remote-code" if is_named(trained.settings.base, trained.settings.trust_remote_code) else ""
    if trained.settings.method == "qlora":
        return f"vllm serve {folder}{own_code} --served-model-name tuned"
    rank = next((rank for rank in _RANKS if rank >= trained.settings.r), trained.settings.r)
    return (
        f"vllm serve {trained.base}{own_code} --enable-lora --max-lora-rank {rank} --lora-modules tuned={folder} \\\n"
        f"    --chat-template {folder}/chat_template.jinja --generation-config {folder}"
    )


def write_generation_config(folder: Path, sampling: Sampling) -> None:
    """Add a decoding to the end tokens that stand in the folder's `generation_config.json`; pairsmith 0.1 wrote none,
    so there they are those of its chat template. What the evaluation left off is written as off: transformers would
    take the 50 likeliest tokens."""
    path = folder / "generation_config.json"
    config: dict[str, Any]
    if path.is_file():
        config = json.loads(path.read_bytes())
    else:
        from transformers import AutoTokenizer

        config = {"eos_token_id": Chat(AutoTokenizer.from_pretrained(folder)).end_tokens()}
    is_greedy = sampling.temperature == 0
    # vLLM does not know do_sample. The one likeliest token would not do: it draws among those that are equally likely.
    config |= {"do_sample": not is_greedy} | ({"temperature": 0.0} if is_greedy else _drawn(sampling))
    aids = {"repetition_penalty", "no_repeat_ngram_size"}
    config |= sampling.model_dump(include=aids, exclude_none=True)
    if sampling.max_tokens is not None:
        config["max_new_tokens"] = sampling.max_tokens
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _drawn(sampling: Sampling) -> dict[str, float]:
    """How tokens are drawn, in full."""
    temperature = 1.0 if sampling.temperature is None else sampling.temperature
    return {"temperature": temperature, "top_p": sampling.top_p or 1.0, "top_k": sampling.top_k or 0}


def modelfile(chat: Chat, gguf: str, system: str | None, sampling: Sampling, max_length: int) -> str:
    """An Ollama Modelfile. Its template gives a conversation the bytes that were trained on; Ollama would otherwise
    guess one. So it would of the decoding: 40 tokens, nine tenths of them, and 1.1 on what was said. A row of
    `max_length` tokens, the longest that was trained on, and its answer fit into the context, whose beginning it would
    else cut off in silence. Not covered: n-grams that may not repeat."""
    parameters = [
        *_drawn(sampling).items(),
        ("repeat_penalty", sampling.repetition_penalty or 1.0),
        ("num_predict", sampling.max_tokens),
        ("num_ctx", max(_CONTEXT, max_length + (sampling.max_tokens or 0))),
        *(("stop", f'"{text}"') for text in (chat.turn.end.strip(), *(sampling.stop or ()))),
    ]
    lines = [f"PARAMETER {name} {value}" for name, value in parameters if value is not None]
    template = ollama_template(chat)
    return "\n".join([f"FROM ./{gguf}", f'TEMPLATE """{template}"""', *_system(system or ""), *lines]) + "\n"


def _system(text: str) -> list[str]:
    """The lines of the system message, with a word on what Ollama's reader does to it: it drops what cannot be printed,
    such as the joiners of Persian and Hindi or the blank before a French colon, and a line that ends in three quotes
    ends the text."""
    if re.search(r'"""[^\S\n]*\n', text):
        return ["# No SYSTEM: a line of it ends in three quotes, which would end it here. Send it with each request."]
    dropped = sorted({f"U+{ord(letter):04X}" for letter in text if not letter.isprintable() and letter not in "\n\r\t"})
    note = f"# Ollama drops {', '.join(dropped)} of SYSTEM; sent with a request, the message keeps what it has."
    return [*([note] if dropped else []), *([f'SYSTEM """{text}"""'] if text else [])]


def ollama_template(chat: Chat) -> str:
    """The prompt of a conversation, with and without a system message, in the template language of Go: the template's
    own texts around the first, the last and every other question. Without the loop Ollama would fill in a template of
    one question for each, and a model's own system message or a second begin of text would stand before every other."""
    spoken, silent = _around(chat, "{{ $.System }}"), _around(chat, "")
    texts = [_either("$.System", *both) for both in zip(spoken, silent, strict=True)]
    only, only_after, first, first_after, next_, next_after, last, last_after = texts
    before = _either("$first", _either("$last", only, first), _either("$last", last, next_))
    after = _either("$first", _either("$last", only_after, first_after), _either("$last", last_after, next_after))
    question = f"{before}{{{{ .Content }}}}{after}{{{{ $first = false }}}}"
    answer = '{{ else if and (eq .Role "assistant") (not $first) }}{{ .Content }}'
    each = "{{ range $at, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $at)) 1 }}"
    return f'{{{{ $first := true }}}}{each}{{{{ if eq .Role "user" }}}}{question}{answer}{{{{ end }}}}{{{{ end }}}}'


def _either(when: str, then: str, otherwise: str) -> str:
    return then if then == otherwise else f"{{{{ if {when} }}}}{then}{{{{ else }}}}{otherwise}{{{{ end }}}}"


def _around(chat: Chat, system: str) -> list[str]:
    """What stands before and behind a question that is the only one, and before and behind each of three. A template
    for one question only, which refuses more or leaves them out, is filled in for each."""
    first = [{"role": "system", "content": system}] if system else []

    def texts(questions: int) -> list[str]:
        turns = [{"role": role, "content": _SAID} for _ in range(questions) for role in ("user", "assistant")]
        return _start(chat, [*first, *turns[:-1]]).split(_SAID)

    before, after = texts(1)
    with suppress(InputError):
        if len(of_three := texts(3)) == 6:
            return [before, after, *of_three]
    return [before, after, before, after, *(chat.turn.end + before, after) * 2]


def _start(chat: Chat, messages: list[dict[str, str]]) -> str:
    """The prompt, without the begin-of-text token where llama.cpp puts it before every prompt itself, as the tokenizer
    does. SmolLM2's opens every turn and is added by nobody."""
    prompt, first = chat.prompt(messages), chat.tokenizer.bos_token
    is_added = first is not None and chat.tokenizer("a").input_ids[0] == chat.tokenizer.bos_token_id
    return (prompt.removeprefix(first) if is_added else prompt) + chat.turn.lead

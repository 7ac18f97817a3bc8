"""How to run an exported model elsewhere: a snippet for transformers, a command for vLLM, a Modelfile for Ollama, and
the generation config that all of them read. All use the prompt and the decoding that were measured."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from schemas.errors import InputError
from schemas.records import Sampling
from synth.chat_template import Chat
from synth.local_vllm import LORA_RANKS
from train.base_models.remote_code import is_trusted_name
from train.results import TrainResult

# The context length in Ollama in tokens, unless a row is longer.
_CONTEXT = 4096
_SNIPPET = """from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
{imports}
FOLDER = "{folder}"
tokenizer = AutoTokenizer.from_pretrained(FOLDER{own_code})
model = {load}
messages = {messages}
inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True, return_tensors="pt")
answer = model.generate(**inputs, generation_config=GenerationConfig.from_pretrained(FOLDER))
print(tokenizer.decode(answer[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))"""
# A placeholder message that no template contains.
_PLACEHOLDER = "pairsmith-said"
_MODEL = 'AutoModelForCausalLM.from_pretrained({place}, dtype="auto"{own_code})'


def snippet(trained: TrainResult, folder: str = "THIS_FOLDER") -> str:
    """Python code that asks the model in `folder` one question."""
    merged = trained.settings.method == "qlora"
    messages = [{"role": "user", "content": "YOUR INPUT"}]
    if trained.system_prompt:
        messages.insert(0, {"role": "system", "content": trained.system_prompt})
    own_code = (
        ", trust_remote_code=True" if is_trusted_name(trained.settings.base, trained.settings.trust_remote_code) else ""
    )
    pinned = f', revision="{trained.base_revision}"' if trained.base_revision else ""
    place = "FOLDER" if merged else f'"{trained.base}"{pinned}'
    model = _MODEL.format(place=place, own_code=own_code)
    return _SNIPPET.format(
        folder=folder,
        imports="" if merged else "from peft import PeftModel\n",
        load=model if merged else f"PeftModel.from_pretrained({model}, FOLDER)",
        own_code=own_code,
        messages=json.dumps(messages, ensure_ascii=False),
    )


def vllm_command(trained: TrainResult, folder: str = "THIS_FOLDER") -> str:
    """The command that serves the model as `tuned`."""
    own_code = (
        " --trust-remote-code" if is_trusted_name(trained.settings.base, trained.settings.trust_remote_code) else ""
    )
    if trained.settings.method == "qlora":
        return f"vllm serve {folder}{own_code} --served-model-name tuned"
    rank = next((rank for rank in LORA_RANKS if rank >= trained.settings.r), trained.settings.r)
    options = (f" --revision {trained.base_revision}" if trained.base_revision else "") + own_code
    return (
        f"vllm serve {trained.base}{options} --enable-lora --max-lora-rank {rank} --lora-modules tuned={folder} \\\n"
        f"    --chat-template {folder}/chat_template.jinja --generation-config {folder}"
    )


def write_generation_config(folder: Path, sampling: Sampling) -> None:
    """Add a decoding to the end tokens in the folder's `generation_config.json`. pairsmith 0.1 did not write that file;
    then the end tokens are those of the chat template. Options that the evaluation left off are written explicitly as
    off, because transformers would otherwise sample from the 50 most likely tokens."""
    path = folder / "generation_config.json"
    config: dict[str, Any]
    if path.is_file():
        config = json.loads(path.read_bytes())
    else:
        from transformers import AutoTokenizer

        config = {"eos_token_id": Chat(AutoTokenizer.from_pretrained(folder)).end_tokens()}
    is_greedy = sampling.temperature == 0
    # vLLM ignores do_sample. top_k = 1 would not be enough: it still samples among equally likely tokens.
    config |= {"do_sample": not is_greedy} | ({"temperature": 0.0} if is_greedy else _sampling_parameters(sampling))
    aids = {"repetition_penalty", "no_repeat_ngram_size"}
    config |= sampling.model_dump(include=aids, exclude_none=True)
    if sampling.max_tokens is not None:
        config["max_new_tokens"] = sampling.max_tokens
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _sampling_parameters(sampling: Sampling) -> dict[str, float]:
    """All sampling parameters with explicit values."""
    temperature = 1.0 if sampling.temperature is None else sampling.temperature
    return {"temperature": temperature, "top_p": sampling.top_p or 1.0, "top_k": sampling.top_k or 0}


def modelfile(
    chat: Chat, gguf: str, system: str | None, sampling: Sampling, max_length: int, context: int | None = None
) -> str:
    """An Ollama Modelfile. Its template reproduces the exact prompt format used in training, and its parameters the
    decoding. Ollama would otherwise guess a template, and use its own defaults: top_k 40, top_p 0.9 and a repeat
    penalty of 1.1. The context fits a row of `max_length` tokens, the longest in training, plus its answer; otherwise
    Ollama would silently cut its beginning. It is at most `context`, all that the model reads at once (None: unknown).
    Not covered: no_repeat_ngram_size."""
    needed = max(_CONTEXT, max_length + (sampling.max_tokens or 0))
    parameters = [
        *_sampling_parameters(sampling).items(),
        ("repeat_penalty", sampling.repetition_penalty or 1.0),
        ("num_predict", sampling.max_tokens),
        ("num_ctx", min(needed, context or needed)),
        *(("stop", _quoted(text)) for text in (chat.turn.end.strip(), *(sampling.stop or ()))),
    ]
    lines = [f"PARAMETER {name} {value}" for name, value in parameters if value is not None]
    template = ollama_template(chat)
    shown = _as_rendered(chat, system or "")
    return "\n".join([f"FROM ./{gguf}", f'TEMPLATE """{template}"""', *_system_lines(shown), *lines]) + "\n"


def _quoted(text: str) -> str:
    """A value for Ollama's parser, which knows no escapes: a quote within one pair of quotes may end it early."""
    return f'"""{text}"""' if '"' in text else f'"{text}"'


def _as_rendered(chat: Chat, system: str) -> str:
    """The system message as it stands in the prompt: many chat templates strip it, and Ollama's template cannot."""
    pattern, actual = (_surrounding_texts(chat, text)[0] for text in ("{{ $.System }}", system))
    forms = (system, system.rstrip(), system.lstrip(), system.strip())
    return next((form for form in forms if pattern.replace("{{ $.System }}", form) == actual), system)


def _system_lines(text: str) -> list[str]:
    """The lines of the system message, with a comment on Ollama's parser, which drops non-printable characters, such as
    the joiners of Persian and Hindi or the space before a French colon, and treats a line that ends in three quotes as
    the end of the text."""
    if re.search(r'"""[^\S\n]*\n', text):
        return [
            "# No SYSTEM: one of its lines ends in three quotes, which would end it early. Send it with each request."
        ]
    dropped = sorted({f"U+{ord(char):04X}" for char in text if not char.isprintable() and char not in "\n\r\t"})
    note = f"# Ollama drops {', '.join(dropped)} from SYSTEM; send the message with each request to keep them."
    return [*([note] if dropped else []), *([f'SYSTEM """{text}"""'] if text else [])]


def ollama_template(chat: Chat) -> str:
    """The prompt of a conversation, with and without a system message, in Go's template language: the chat template's
    texts around the first, the last and every other question. Without the loop Ollama would apply a single-question
    template to each question, and repeat the system message or the begin-of-text token before each."""
    with_system_prompt, without_system = _surrounding_texts(chat, "{{ $.System }}"), _surrounding_texts(chat, "")
    texts = [_if_else("$.System", *both) for both in zip(with_system_prompt, without_system, strict=True)]
    only, only_after, first, first_after, next_, next_after, last, last_after = texts
    before = _if_else("$first", _if_else("$last", only, first), _if_else("$last", last, next_))
    after = _if_else("$first", _if_else("$last", only_after, first_after), _if_else("$last", last_after, next_after))
    question = f"{before}{{{{ .Content }}}}{after}{{{{ $first = false }}}}"
    answer = '{{ else if and (eq .Role "assistant") (not $first) }}{{ .Content }}'
    if greeting := _greeting_start(chat, with_system_prompt[6], without_system[6]):
        answer = f'{{{{ else if eq .Role "assistant" }}}}{{{{ if $first }}}}{greeting}{{{{ end }}}}{{{{ .Content }}}}'
        answer += "{{ $first = false }}"
    each = "{{ range $at, $_ := .Messages }}{{ $last := eq (len (slice $.Messages $at)) 1 }}"
    return f'{{{{ $first := true }}}}{each}{{{{ if eq .Role "user" }}}}{question}{answer}{{{{ end }}}}{{{{ end }}}}'


def _greeting_start(chat: Chat, *last: str) -> str:
    """The text before an answer that opens the conversation; empty if the question after it does not begin as a last
    question does (`last`, with and without a system message), or if the template refuses or drops such an answer.
    Ollama also opens with one when a context is full, as any server does with those messages."""

    def start(last: str, *system: dict[str, str]) -> str:
        turns = [{"role": role, "content": _PLACEHOLDER} for role in ("assistant", "user")]
        parts = _prompt_start(chat, [*system, *turns]).split(_PLACEHOLDER)
        return parts[0] if len(parts) == 3 and parts[1] == last else ""

    with suppress(InputError):
        texts = start(last[0], {"role": "system", "content": "{{ $.System }}"}), start(last[1])
        return _if_else("$.System", *texts) if all(texts) else ""
    return ""


def _if_else(condition: str, then: str, otherwise: str) -> str:
    return then if then == otherwise else f"{{{{ if {condition} }}}}{then}{{{{ else }}}}{otherwise}{{{{ end }}}}"


def _surrounding_texts(chat: Chat, system: str) -> list[str]:
    """The texts before and after a single question, and before and after each of three. A template for a single
    question only, which rejects or drops further ones, is repeated for each."""
    first = [{"role": "system", "content": system}] if system else []

    def texts(questions: int) -> list[str]:
        turns = [{"role": role, "content": _PLACEHOLDER} for _ in range(questions) for role in ("user", "assistant")]
        return _prompt_start(chat, [*first, *turns[:-1]]).split(_PLACEHOLDER)

    before, after = texts(1)
    with suppress(InputError):
        if len(of_three := texts(3)) == 6:
            return [before, after, *of_three]
    return [before, after, before, after, *(chat.turn.end + before, after) * 2]


def _prompt_start(chat: Chat, messages: list[dict[str, str]]) -> str:
    """The prompt, without the begin-of-text token if llama.cpp, like the tokenizer, adds it to every prompt itself.
    SmolLM2's token opens every turn, and is not added."""
    prompt, first = chat.prompt(messages), chat.tokenizer.bos_token
    is_added = first is not None and chat.tokenizer("a").input_ids[0] == chat.tokenizer.bos_token_id
    return (prompt.removeprefix(first) if is_added else prompt) + chat.turn.lead

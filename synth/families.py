"""Families of language models, recognised by the names that endpoints serve them under.

A judge prefers the output of its own family, which is more predictable to it (Panickssery et al. 2024,
arXiv:2404.13076), so a judge should be of another family than the model that wrote the text.

Not covered: models whose name does not show their family, and the model that one was distilled from unless its name
says so.
"""

from __future__ import annotations

import re

# The maker of a family -> prefixes of words in its model names.
_FAMILIES = {
    "OpenAI": "gpt chatgpt davinci",
    "Anthropic": "claude",
    "Google": "gemini gemma palm",
    "Meta": "llama codellama sonar",
    "Alibaba": "qwen qwq",
    "Mistral": "mistral mixtral ministral magistral codestral devstral pixtral zephyr",
    "DeepSeek": "deepseek",
    "Microsoft": "phi",
    "Hugging Face": "smollm",
    "IBM": "granite",
    "xAI": "grok",
    "Cohere": "command aya",
    "Zhipu": "glm chatglm",
    "Moonshot": "kimi",
    "Liquid": "lfm",
    "NVIDIA": "nemotron",
    "Ai2": "olmo tulu",
    "TII": "falcon",
    "01.AI": "yi",
    "MiniMax": "minimax",
    "Baidu": "ernie",
    "Tencent": "hunyuan",
    "Shanghai AI Laboratory": "internlm",
    "AI21": "jamba",
    "Amazon": "nova titan",
    "LG": "exaone",
    "Upstage": "solar",
    "Swiss AI": "apertus",
    "EuroLLM": "eurollm",
}
_O_SERIES = re.compile(r"o[1-9]")


def families(model: str) -> frozenset[str]:
    """The makers of the model that is served as `model`: several if the name also shows what it was distilled from
    (`DeepSeek-R1-Distill-Qwen-32B`), none if the name shows no family."""
    name = model.lower()
    words = re.findall(r"[a-z]+", name)
    makers = {
        by for by, starts in _FAMILIES.items() for start in starts.split() for word in words if _matches(word, start)
    }
    if any(_O_SERIES.fullmatch(part) for part in re.split(r"[^a-z0-9]+", name)):
        makers.add("OpenAI")
    return frozenset(makers)


def is_different_model(requested: str, answered: str) -> bool:
    """Whether an endpoint reports a different model than was requested, as servers do that answer with whichever model
    is loaded (LM Studio, llama.cpp). The same name with a vendor, a date or a tag is not different."""
    # Only letters and digits, without a vendor prefix and a tag or "latest" suffix.
    names = [re.sub(r"^.*/|:.*|-latest$|[^a-z0-9]", "", name.lower()) for name in (requested, answered)]
    return all(names) and names[0] not in names[1] and names[1] not in names[0]


def _matches(word: str, start: str) -> bool:
    """Whether `word` belongs to a family with the prefix `start`. A prefix of at most 4 characters must be the whole
    word: `phi` does not match `philosophy`."""
    return word == start if len(start) <= 4 else word.startswith(start)

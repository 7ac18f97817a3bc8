"""The families of language models, by the names that endpoints serve them under.

A judge likes what its own family writes, because it finds it easy to foresee (Panickssery et al. 2024,
arXiv:2404.13076), so who judges should be of another family than who wrote.

Not covered: a model under a name that says nothing of its family, and what it was distilled from unless its name says
so.
"""

from __future__ import annotations

import re

# Who made the family -> the beginnings of words of its names.
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
    """Who made the model that is served as `model`; several where its name says what it was made from
    (`DeepSeek-R1-Distill-Qwen-32B`), none where it says nothing."""
    name = model.lower()
    words = re.findall(r"[a-z]+", name)
    makers = {
        by for by, starts in _FAMILIES.items() for start in starts.split() for word in words if _is_of(word, start)
    }
    if any(_O_SERIES.fullmatch(part) for part in re.split(r"[^a-z0-9]+", name)):
        makers.add("OpenAI")
    return frozenset(makers)


def is_another(asked: str, answered: str) -> bool:
    """Whether an endpoint says that it answered with another model than it was asked for, as servers do that answer
    with whichever is loaded (LM Studio, llama.cpp). The same name with a vendor, a date or a tag is none."""
    # Without a vendor before it and a tag or "latest" behind it, in letters and digits.
    names = [re.sub(r"^.*/|:.*|-latest$|[^a-z0-9]", "", name.lower()) for name in (asked, answered)]
    return all(names) and names[0] not in names[1] and names[1] not in names[0]


def _is_of(word: str, start: str) -> bool:
    """A short name is a whole word: `phi` is none of `philosophy`."""
    return word == start if len(start) <= 4 else word.startswith(start)

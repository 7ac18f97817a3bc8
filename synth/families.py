"""The families of language models, by the names that endpoints serve them under.

A judge likes what its own family writes, because it finds it easy to foresee (Panickssery et al. 2024,
arXiv:2404.13076), so who judges should be of another family than who wrote.

Not covered: a model under a name that says nothing of its family, and what it was distilled from unless its name says
so.
"""

from __future__ import annotations

import re

# The beginning of a word of the name -> who made the family.
_FAMILIES = {
    "gpt": "OpenAI",
    "chatgpt": "OpenAI",
    "davinci": "OpenAI",
    "claude": "Anthropic",
    "gemini": "Google",
    "gemma": "Google",
    "palm": "Google",
    "llama": "Meta",
    "codellama": "Meta",
    "qwen": "Alibaba",
    "qwq": "Alibaba",
    "mistral": "Mistral",
    "mixtral": "Mistral",
    "ministral": "Mistral",
    "magistral": "Mistral",
    "codestral": "Mistral",
    "devstral": "Mistral",
    "pixtral": "Mistral",
    "deepseek": "DeepSeek",
    "phi": "Microsoft",
    "smollm": "Hugging Face",
    "zephyr": "Mistral",
    "granite": "IBM",
    "grok": "xAI",
    "command": "Cohere",
    "aya": "Cohere",
    "glm": "Zhipu",
    "chatglm": "Zhipu",
    "kimi": "Moonshot",
    "lfm": "Liquid",
    "nemotron": "NVIDIA",
    "olmo": "Ai2",
    "tulu": "Ai2",
    "falcon": "TII",
    "yi": "01.AI",
    "minimax": "MiniMax",
    "ernie": "Baidu",
    "hunyuan": "Tencent",
    "internlm": "Shanghai AI Laboratory",
    "jamba": "AI21",
    "nova": "Amazon",
    "titan": "Amazon",
    "exaone": "LG",
    "solar": "Upstage",
    "sonar": "Meta",
    "apertus": "Swiss AI",
    "eurollm": "EuroLLM",
}
_O_SERIES = re.compile(r"o[1-9]")


def families(model: str) -> frozenset[str]:
    """Who made the model that is served as `model`; several where its name says what it was made from
    (`DeepSeek-R1-Distill-Qwen-32B`), none where it says nothing."""
    name = model.lower()
    words = re.findall(r"[a-z]+", name)
    makers = {made_by for start, made_by in _FAMILIES.items() for word in words if _is_of(word, start)}
    if any(_O_SERIES.fullmatch(part) for part in re.split(r"[^a-z0-9]+", name)):
        makers.add("OpenAI")
    return frozenset(makers)


def _is_of(word: str, start: str) -> bool:
    """A short name is a whole word: `phi` is none of `philosophy`."""
    return word == start if len(start) <= 4 else word.startswith(start)

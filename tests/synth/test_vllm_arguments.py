"""vLLM's arguments are read as vLLM reads them."""

from __future__ import annotations

import pytest

from schemas.errors import UsageError
from synth.local_vllm import arguments
from synth.vllm_arguments import context_in, value_of


@pytest.mark.parametrize(("written", "tokens"), [
    ("32768", 32_768), ("32_768", 32_768), (" 4096 ", 4_096),
    ("32k", 32_000), ("32K", 32_768), ("25.6k", 25_600), ("1.5m", 1_500_000), ("1M", 1_048_576),
    ("auto", None), ("Auto", None), ("-1", None), ("1.5M", None), ("32kb", None), ("32_768k", None), ("", None),
    ("٣k", None), ("0", None),
])  # fmt: skip
@pytest.mark.parametrize("name", ["--max-model-len", "--max_model_len"])
def test_a_context_length_means_what_it_means_to_vllm(written: str, tokens: int | None, name: str) -> None:
    """Small letters are powers of 1,000 and capitals of 1,024. What vLLM chooses itself, or refuses, is no number."""
    assert context_in([name, written]) == context_in([f"{name}={written}"]) == tokens


def test_the_last_of_repeated_arguments_counts() -> None:
    """As in vLLM; a value with an equals sign or of several words is not torn apart."""
    more = ['--hf-overrides={"a": "--x=1"}', "--max-model-len=1k", "--served-model-name", "a", "b"]
    assert context_in([*more, "--max_model_len", "2k", "--enforce-eager"]) == 2_000
    assert value_of("--hf-overrides", more) == '{"a": "--x=1"}'
    assert value_of("--served-model-name", more) == "a"
    assert value_of("--enforce-eager", ["--enforce-eager", "--max-model-len", "9"]) == ""


def test_underscores_hide_no_argument() -> None:
    """An address in vLLM's other spelling is refused, too, and a limit of one's own is not set twice."""
    with pytest.raises(UsageError, match="'--ssl_certfile=x' cannot be passed"):
        arguments("m", 1, gpu=True, more=["--ssl_certfile=x"])
    own = ["--max_loras=9", "--max_lora_rank", "64", "--kv_cache_memory_bytes=5"]
    given = arguments("m", 1, gpu=False, lora=["a=x"], more=own)
    assert not {"--max-loras", "--max-lora-rank", "--kv-cache-memory-bytes"} & {*given}

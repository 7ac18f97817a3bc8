"""Drawing tokens: repetition settings, top-k and top-p, and what a seed guarantees."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the embedded teacher needs the train extra")

from torch import Tensor  # noqa: E402

from synth.embedded.sampling import RowSampler, TokenSampling, next_tokens  # noqa: E402

VOCABULARY = 3000


def draw(seed: int = 0, **sampling: float) -> RowSampler:
    return RowSampler(TokenSampling(**sampling), torch.Generator().manual_seed(seed))  # type: ignore[arg-type]


def peaks(*pairs: tuple[int, float]) -> Tensor:
    logits: Tensor = torch.full((1, VOCABULARY), -8.0)
    for token, value in pairs:
        logits[0, token] = value
    return logits


def frequencies(logits: Tensor, count: int = 4000, **sampling: float) -> Tensor:
    draws = [draw(seed, **sampling) for seed in range(count)]
    tokens = [next_tokens(logits.clone(), [one])[0] for one in draws]
    shares: Tensor = torch.bincount(torch.tensor(tokens), minlength=logits.shape[1]) / count
    return shares


def test_greedy_takes_the_likeliest_token() -> None:
    """Temperature 0 draws nothing."""
    assert next_tokens(peaks((7, 2.0), (2999, 1.9)), [draw(temperature=0)]) == [7]


def test_draws_follow_the_distribution() -> None:
    """Inverting the distribution function block by block gives each token its share, also at the borders of blocks."""
    logits = torch.full((1, 700), float("-inf"))
    shares = {0: 0.1, 255: 0.2, 256: 0.3, 699: 0.4}
    for token, share in shares.items():
        logits[0, token] = torch.tensor(share).log()
    seen = frequencies(logits)
    for token, share in shares.items():
        assert seen[token] == pytest.approx(share, abs=0.03)
    assert seen.sum() == pytest.approx(1.0)


def test_top_k_and_top_p_leave_only_the_likeliest() -> None:
    """top_k keeps k tokens; top_p keeps the smallest set with that share."""
    logits = peaks((1, 4.0), (2, 3.5), (3, 3.0))
    assert set(frequencies(logits, 400, top_k=2).nonzero()[:, 0].tolist()) == {1, 2}
    assert set(frequencies(logits, 400, top_p=0.6).nonzero()[:, 0].tolist()) == {1, 2}
    assert set(frequencies(logits, 50, top_p=0.01).nonzero()[:, 0].tolist()) == {1}


def test_a_nucleus_wider_than_the_guess_is_found_by_sorting() -> None:
    """A flat distribution keeps the requested share too."""
    flat = torch.linspace(0, 0.01, VOCABULARY)[None]
    kept = {next_tokens(flat.clone(), [draw(seed, top_p=0.9)])[0] for seed in range(1500)}
    assert min(kept) >= VOCABULARY * 0.09
    assert min(kept) < VOCABULARY * 0.15


def test_row_draws_the_same_in_any_batch() -> None:
    """A seed's draw depends on its own logits, not on the batch or its position in it."""
    logits = torch.randn(9, VOCABULARY, generator=torch.Generator().manual_seed(3))
    settings = [{"temperature": 0.9, "top_k": 50}, {"temperature": 1.3}, {"top_p": 0.8}] * 3
    together = next_tokens(logits.clone(), [draw(i, **one) for i, one in enumerate(settings)])
    alone = [next_tokens(logits[i : i + 1].clone(), [draw(i, **one)])[0] for i, one in enumerate(settings)]
    assert together == alone


def test_the_repetition_penalty_counts_generated_words_only() -> None:
    """A token is penalised once it was generated and has a letter. Punctuation and the words of the prompt are not."""
    one = draw(temperature=0, repetition_penalty=2.0)
    logits = peaks((5, 3.0), (6, 2.0))
    assert next_tokens(logits.clone(), [one]) == [5]
    one.record(5, has_letter=False)
    assert next_tokens(logits.clone(), [one]) == [5]
    one.record(5, has_letter=True)
    assert next_tokens(logits.clone(), [one]) == [6]


def test_a_negative_logit_is_penalised_downwards() -> None:
    """CTRL's rule: dividing a negative logit would reward repetition."""
    one = draw(repetition_penalty=2.0)
    one.record(4, has_letter=True)
    logits = peaks((4, -3.0))[0]
    one.adjust(logits)
    assert logits[4] == -6.0


def test_no_ngram_is_generated_twice_unless_it_ends_without_a_letter() -> None:
    """After `a b c ... a b` the token c is banned. A comma in its place would not be."""
    one = draw(temperature=0, no_repeat_ngram_size=3)
    for token in (1, 2, 3, 9, 1, 2):
        one.record(token, has_letter=True)
    assert next_tokens(peaks((3, 5.0), (8, 1.0)), [one]) == [8]
    comma = draw(temperature=0, no_repeat_ngram_size=3)
    for token in (1, 2, 3, 9, 1, 2):
        comma.record(token, has_letter=token != 3)
    assert next_tokens(peaks((3, 5.0), (8, 1.0)), [comma]) == [3]

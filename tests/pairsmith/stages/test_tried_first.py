"""What is known of a prompt before a batch is made, which is paid for as a whole."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.pairsmith.conftest import ROOT, Project
from tests.synth.batch_loopback import BatchProvider

pytestmark = pytest.mark.slow

SUBJECTS = tuple(f"a red kite number {i} over the old harbour" for i in range(60))
PRICES = "usd_per_million_prompt_tokens = 0\nusd_per_million_completion_tokens = 100000"


@pytest.fixture
def provider() -> Iterator[BatchProvider]:
    with BatchProvider("openai", lambda prompt, nth: f"{prompt} beside a wall END") as provider:
        provider.says_live, provider.counts_live = lambda prompt: f"{prompt} beside a wall END", True
        yield provider


@pytest.fixture
def batched(provider: BatchProvider, make_project: Callable[..., Project]) -> Project:
    """A project of sixty seeds, two candidates of each, whose teacher has a batch API."""
    project = make_project(provider.url, SUBJECTS)
    spec = project.folder / "pairsmith.toml"
    spec.write_text(spec.read_text().replace("concurrency", f'key_env = "BATCH_KEY"\n{PRICES}\nconcurrency'))
    project.environment["BATCH_KEY"] = "sk-batch"
    return project


def test_an_untried_prompt_is_tried_directly_before_a_batch(batched: Project, provider: BatchProvider) -> None:
    """Ten seeds are asked about directly, at the usual price, and only the others are in the batch. Every slot has its
    pair, and the cost is that of both."""
    done = batched.run("generate", "--batch")
    assert done.returncode == 0, done.stderr
    assert "10 seeds are asked about directly first, at the usual price" in done.stderr
    assert "No usable answer of this teacher" not in done.stderr
    assert (provider.live, [len(batch) for batch in provider.batches]) == (10, [50])
    receipt = batched.receipts()[-1]
    assert (receipt["counts"]["waiting"], receipt["counts"]["failed"]) == (120, 0)
    assert receipt["usd"] == pytest.approx((10 * 5 * 1.0 + 100 * 5 * 0.5) / 10)


@pytest.mark.parametrize("text", ["", "   "])
def test_no_batch_is_made_of_a_prompt_without_a_usable_answer(
    text: str, batched: Project, provider: BatchProvider
) -> None:
    """All answers are empty: the run ends after those asked directly, and no batch was paid for. All of it was."""
    provider.says_live = lambda prompt: text
    done = batched.run("generate", "--batch")
    assert (done.returncode, provider.batches) == (5, [])
    assert "None of the first 10 answers can be used" in done.stderr
    assert provider.live <= 20


@pytest.mark.parametrize("option", [(), ("--retry-failed",)])
def test_a_second_run_buys_no_batch_either(option: tuple[str, ...], batched: Project, provider: BatchProvider) -> None:
    """The same command again asked about what the first had left of the ten seeds, too little to end the run, and then
    submitted a batch of all others."""
    provider.says_live = lambda prompt: ""
    codes = [batched.run("generate", "--batch", *given).returncode for given in ((), option)]
    assert (codes, provider.batches) == ([5, 5], [])


def test_no_batch_is_made_if_the_tried_rows_may_be_at_fault(batched: Project, provider: BatchProvider) -> None:
    """Ten filtered answers do not prove that all will be, but a batch would be bought without any usable one."""
    provider.live_finish = "content_filter"
    done = batched.run("generate", "--batch", "--set", "teacher.attempts=1")
    assert (done.returncode, provider.live, provider.batches) == (5, 10, [])
    assert "No answer about the 10 seeds that were tried first can be used" in done.stderr
    assert batched.receipts()[-1]["usd"] == pytest.approx(10 * 5 * 1.0 / 10)


def test_a_prompt_that_was_answered_goes_into_one_batch(batched: Project, provider: BatchProvider) -> None:
    """After a preview nothing is asked directly. With teacher.batch the preview itself waits for no batch."""
    batched.json("preview", "--set", "teacher.batch=true")
    assert (provider.live, provider.batches) == (5, [])
    batched.json("generate", "--batch")
    assert (provider.live, [len(batch) for batch in provider.batches]) == (5, [55])


@pytest.mark.parametrize("setting", ["seeds.0.limit=40", "generate.forward.candidates=6"])
def test_a_small_batch_is_not_tried_first(setting: str, batched: Project, provider: BatchProvider) -> None:
    """Forty seeds or fewer go into one batch, as before; its line recommends a preview."""
    done = batched.run("generate", "--batch", "--set", setting)
    assert f"`pairsmith preview --set {setting}` asks about five seeds directly" in done.stderr
    assert (provider.live, len(provider.batches)) == (0, 1)


def test_a_prompt_whose_description_changed_keeps_its_pairs(batched: Project, provider: BatchProvider) -> None:
    """Only `about` of a prompt of one's own is edited: the questions are the same, so nothing is asked, and every row
    keeps the pair that it has, with its reviews."""
    own = batched.folder / "prompts" / "enhance"
    own.mkdir(parents=True)
    text = (ROOT / "prompts" / "enhance" / "v1.jinja").read_text()
    (own / "v2.jinja").write_text(text)
    chosen = ("--set", "generate.forward.prompt=enhance/v2")
    batched.json("generate", *chosen)
    pairs, live = batched.rows("SELECT id FROM pairs ORDER BY id"), provider.live
    (own / "v2.jinja").write_text(re.sub(r'(?m)^about = "', 'about = "Edited. ', text, count=1))
    batched.json("generate", "--batch", *chosen)
    assert (provider.live, provider.batches) == (live, [])
    assert batched.rows("SELECT id FROM pairs ORDER BY id") == pairs


def test_a_preview_shows_the_batch_price_of_the_rest(batched: Project, provider: BatchProvider) -> None:
    """With teacher.batch, the answers of a preview cost the usual price, and what is left costs that of a batch."""
    at_once = batched.json("preview")["facts"]["left_usd"]
    in_batches = batched.json("preview", "--set", "teacher.batch=true")["facts"]["left_usd"]
    assert in_batches["middle"] == pytest.approx(at_once["middle"] / 2)

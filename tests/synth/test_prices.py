"""Prices of tokens: from the spec, from the table, from the provider itself; and unknown prices."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import pytest

from schemas.money import Cost, describe_cost, dollars
from schemas.records import Usage
from schemas.spec import TeacherSettings
from schemas.store import Store
from synth.chat.completions import read_answer
from synth.chat.usage import charged
from synth.engine import generate
from synth.meter import Meter
from synth.prices import free, prices_of
from tests.synth.loopback import LoopbackTeacher, Reply
from tests.synth.rig import input as seeds
from tests.synth.rig import rig

MANY = Usage(prompt_tokens=1_000_000, completion_tokens=1_000_000)


def teacher_at(url: str, model: str = "m", **prices: float) -> TeacherSettings:
    return TeacherSettings.model_validate({"url": url, "model": model, **prices})


def test_prices_of_the_spec_count_and_cached_tokens_have_their_own() -> None:
    """Both prices are needed. Without a price of its own a cached token costs as much as any prompt token."""
    both = {"usd_per_million_prompt_tokens": 2.0, "usd_per_million_completion_tokens": 10.0}
    half_read = MANY.model_copy(update={"cached_tokens": 500_000})
    plain, cached = (
        prices_of(teacher_at("http://gpu:8000", **both, **more))
        for more in ({}, {"usd_per_million_cached_tokens": 0.5})
    )
    assert plain is not None
    assert cached is not None
    assert (plain.source, plain.usd(MANY), plain.usd(half_read)) == ("pairsmith.toml", 12.0, 12.0)
    assert cached.usd(half_read) == 1.0 + 0.25 + 10.0
    assert prices_of(teacher_at("http://gpu:8000", usd_per_million_prompt_tokens=2.0)) is None


def test_request_fee_is_part_of_the_price() -> None:
    """For a short answer the fee is nearly the whole bill, so a cap without it would have no effect. It is counted
    once."""
    address = teacher_at("https://api.perplexity.ai", "sonar")
    short = Usage(prompt_tokens=500, completion_tokens=500)
    for teacher, tokens in (
        (address, 0.001),
        (teacher_at(address.url, "sonar", usd_per_million_prompt_tokens=3.0), 0.002),
    ):
        priced = prices_of(teacher)
        assert priced is not None
        fee, whole = priced.usd(Usage()), priced.usd(short)
        assert fee is not None
        assert whole is not None
        assert fee > 0.004
        assert whole - fee == pytest.approx(tokens)


def test_together_is_known_at_both_addresses_and_has_no_batch_discount() -> None:
    """Its documentation has another address than the table. A discount applies to a few models, which a table would
    list."""
    model = "meta-llama/Llama-3.3-70B-Instruct-Turbo"
    old, new = (prices_of(teacher_at(f"https://api.together.{end}/v1", model)) for end in ("xyz", "ai"))
    assert old is not None
    assert new is not None
    assert (old.source, old.usd(MANY)) == (new.source, new.usd(MANY))
    assert new.batch_usd(MANY) == new.usd(MANY)


def test_google_models_are_known_under_the_names_that_its_endpoints_use() -> None:
    """Gemini lists `models/...`, and Vertex AI's compatible endpoint only takes `google/...`: a cap was refused there,
    because no price was known."""
    gemini = "https://generativelanguage.googleapis.com/v1beta/openai"
    vertex = "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1/endpoints/openapi"
    usual = prices_of(teacher_at(gemini, "gemini-2.5-flash"))
    assert usual is not None
    for url, model in ((gemini, "models/gemini-2.5-flash"), (vertex, "google/gemini-2.5-flash")):
        prices = prices_of(teacher_at(url, model))
        assert prices is not None
        assert prices.usd(MANY) == usual.usd(MANY)
    assert prices_of(teacher_at("https://gateway.example.com/v1", "google/gemini-2.5-flash")) is None


def test_price_of_the_spec_overrides_only_its_own_kind_of_token() -> None:
    """An account with its own price for one kind of token has it for that kind only, and no price of the spec is
    ignored."""
    address = teacher_at("https://api.openai.com/v1", "gpt-4.1-mini")
    listed, pricier, read = (
        prices_of(address.model_copy(update=update))
        for update in (
            {},
            {"usd_per_million_prompt_tokens": 9.0},
            {"usd_per_million_cached_tokens": 7.0},
        )
    )
    assert listed is not None
    assert pricier is not None
    assert read is not None
    written, asked = (Usage(**{f"{kind}_tokens": 1_000_000}) for kind in ("completion", "prompt"))
    assert pricier.usd(written) == listed.usd(written)
    assert pricier.usd(asked) == 9.0
    assert read.usd(asked) == listed.usd(asked)
    assert read.usd(asked.model_copy(update={"cached_tokens": 1_000_000})) == 7.0
    assert pricier.source == f"pairsmith.toml, {listed.source}"
    assert pricier.batch_share == listed.batch_share


@pytest.mark.parametrize("own", ["prompt", "cached", "completion"])
@pytest.mark.parametrize("tokens", [100_000, 300_000])
def test_price_of_the_spec_combines_with_tiered_list_prices(own: str, tokens: int) -> None:
    """For the other tokens the list price depends on the length of the prompt. A price of the spec that equals the list
    price changes nothing, whichever one it is."""
    url, model = "https://generativelanguage.googleapis.com/v1beta/openai", "gemini-2.5-pro"
    listed = prices_of(teacher_at(url, model))
    assert listed is not None
    usage = Usage(prompt_tokens=tokens, cached_tokens=tokens // 3, completion_tokens=5_000, reasoning_tokens=2_000)
    long = Usage(prompt_tokens=tokens)
    each = {
        "prompt": (listed.usd(long) or 0.0) / tokens,
        "cached": (listed.usd(long.model_copy(update={"cached_tokens": tokens})) or 0.0) / tokens,
        "completion": ((listed.usd(usage.model_copy(update={"cached_tokens": 0})) or 0.0) - (listed.usd(long) or 0.0))
        / usage.completion_tokens,
    }
    # If only the price of prompt tokens is set, it applies to cached tokens as well.
    given = {f"usd_per_million_{name}_tokens": each[name] * 1e6 for name in {own, "cached" if own == "prompt" else own}}
    priced = prices_of(teacher_at(url, model, **given))
    assert priced is not None
    assert priced.usd(usage) == pytest.approx(listed.usd(usage))
    assert priced.usd(long) == pytest.approx(listed.usd(long))


@pytest.mark.parametrize("url", ["http://localhost:8000/v1", "http://10.0.0.7:8000/v1", "https://llm.example.com/v1"])
def test_missing_price_is_unknown_and_not_zero(url: str) -> None:
    """Without a price the result is None. Only a price of 0 for every token means free, as on this machine."""
    assert prices_of(teacher_at(url, "gpt-4.1-mini")) is None
    priced = prices_of(free(teacher_at(url)))
    assert priced is not None
    assert (priced.source, priced.usd(MANY)) == ("free", 0.0)
    only_cached = free(teacher_at(url)).model_copy(update={"usd_per_million_cached_tokens": 0.5})
    charged = prices_of(only_cached)
    assert charged
    reused = MANY.model_copy(update={"cached_tokens": 1_000_000})
    assert (charged.source, charged.usd(reused)) == ("pairsmith.toml", 0.5)
    local = prices_of(free(only_cached))
    assert local
    assert local.usd(reused) == 0


def test_a_batch_at_azure_costs_half() -> None:
    """The table has OpenAI's models for Azure too, but applies their batch prices to OpenAI alone: a batch at Azure was
    announced and counted at the full price."""
    azure = TeacherSettings(url="https://mine.openai.azure.com/openai/v1", model="gpt-4.1-mini")
    prices = prices_of(azure)
    assert prices is not None
    assert prices.batch_usd(MANY) == pytest.approx(prices.usd(MANY) / 2)


@pytest.mark.parametrize(
    ("model", "usd"),
    [
        # OpenAI's table for batches has no price of cached tokens for this model, so they keep the usual one.
        ("gpt-4.1-mini", (200_000 * 0.2 + 800_000 * 0.1 + 100_000 * 0.8) / 1e6),
        ("gpt-5-mini", (200_000 * 0.125 + 800_000 * 0.0125 + 100_000 * 1) / 1e6),
        ("gpt-3.5-turbo-1106", (1_000_000 * 1 + 100_000 * 2) / 1e6),  # listed without a discount
    ],
)
def test_each_kind_of_token_has_its_own_price_in_a_batch(model: str, usd: float) -> None:
    """Computed by hand from OpenAI's page. One share for all tokens gave 83 of 396 wrong prices, all of them too low,
    and with them what a cap reserves and a forecast shows."""
    prices = prices_of(teacher_at("https://api.openai.com/v1", model))
    assert prices is not None
    usage = Usage(prompt_tokens=1_000_000, cached_tokens=800_000, completion_tokens=100_000)
    assert prices.batch_usd(usage) == pytest.approx(usd)


def test_known_providers_have_the_prices_of_the_table() -> None:
    """Prices are found by address and model, with the table's version. Cached, reasoning and batch tokens are priced
    accordingly."""
    openai = prices_of(teacher_at("https://api.openai.com/v1", "gpt-4.1-mini"))
    assert openai is not None
    assert openai.source.startswith("genai-prices 0.")
    assert openai.source.endswith("openai/gpt-4.1-mini")
    usual, read = openai.usd(MANY), openai.usd(MANY.model_copy(update={"cached_tokens": 1_000_000}))
    batch = openai.batch_usd(MANY)
    assert usual is not None
    assert read is not None
    assert 0 < read < usual
    assert batch == pytest.approx(usual / 2)
    thought = openai.usd(MANY.model_copy(update={"reasoning_tokens": 400_000}))
    assert thought == pytest.approx(usual)
    # Without a batch price in the table, the batch price is unknown.
    groq = prices_of(teacher_at("https://api.groq.com/openai/v1", "llama-3.3-70b-versatile"))
    assert groq is not None
    assert groq.batch_share is None
    # The longer prompt is in the more expensive tier.
    tiered = prices_of(teacher_at("https://generativelanguage.googleapis.com/v1beta/openai", "gemini-2.5-pro"))
    assert tiered is not None
    short, long = (tiered.usd(Usage(prompt_tokens=n)) for n in (100_000, 1_000_000))
    assert short is not None
    assert long is not None
    assert long > 10 * short


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        ({"cost": 0.0125}, 0.0125),
        ({"cost": 0.001, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.02}}, 0.021),
        ({"cost": 0, "is_byok": True, "cost_details": {}}, None),
        ({"cost": 0.001, "is_byok": True}, None),  # what the provider charges is unknown
        ({"cost": {"total_cost": 0.0086, "request_cost": 0.006}}, 0.0086),
        ({"cost_in_usd_ticks": 37_756_000}, 0.0037756),
        ({"cost_in_usd_ticks": "many"}, None),
        ({"estimated_cost": 0.0000268}, 0.0000268),
        ({"cost_usd_total": 0.000125, "cost_usd_input": 0.000025}, 0.000125),
        ({"cost": 0.0125, "currency": "usd"}, 0.0125),
        ({"cost": 0.0125, "currency": "CNY"}, None),
        ({"cost": {"total_cost": 0.0125, "currency": "EUR"}}, None),
        ({"estimated_cost": None}, None),
        ({"cost": {}}, None),
        ({"cost": "0.1"}, None),
        ({"cost": -1}, None),
        ({"cost": 1e300}, None),
        ({"cost_in_usd_ticks": 10**18}, None),
        ({"cost": True}, None),
        ({}, None),
    ],
)
def test_charge_reported_by_the_provider_is_read(usage: dict[str, object], usd: float | None) -> None:
    """A sum in US dollars in the response itself. Nothing else is mistaken for one."""
    body = {
        "choices": [{"message": {"content": "x"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, **usage},
    }
    assert read_answer(orjson.dumps(body), 0.1, {}).usd == usd


COST = "x-litellm-response-cost"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("headers", "usage", "usd"),
    [
        ({COST: "0.00042"}, {}, 0.00042),
        ({COST: "4.2e-07"}, {}, 4.2e-07),
        ({COST: "0.0005"}, {"cost": 0.0004}, 0.0005),
        ({COST: "0.0005"}, {"cost": 0.0, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.0004}}, 0.0005),
        ({COST: "0.0"}, {}, None),
        ({COST: "0.0"}, {"cost": 0.0004}, 0.0004),
        ({COST: "0.0", "x-litellm-cache-key": "k1"}, {}, 0.0),
        ({"cf-aig-cache-status": "HIT"}, {}, 0.0),
        ({"CF-AIG-Cache-Status": "MISS"}, {}, None),
        ({"x-portkey-cache-status": "SEMANTIC MISS"}, {}, None),
        ({"Helicone-Cache": "HIT"}, {"cost": 0.0004}, 0.0),
        ({"Helicone-Cache": "HIT"}, {"cost": 0.0004, "currency": "CNY"}, 0.0),
        ({"Helicone-Cache": "HIT"}, {"is_byok": True, "cost_details": {"upstream_inference_cost": 0.0004}}, 0.0),
        ({"X-OpenRouter-Cache-Status": "HIT"}, {"prompt_tokens": 0, "completion_tokens": 0, "cost": 0}, 0.0),
        *[({COST: text}, {}, None) for text in ("None", "", "nan", "inf", "1e300", "-1", "$0.1")],
    ],
)
def test_cost_in_the_header_of_a_litellm_proxy_is_the_cost(
    headers: dict[str, str], usage: dict[str, object], usd: float | None, tmp_path: Path
) -> None:
    """With its discounts and margins. Over the wire, for a single request and for one in bulk, the cost is stored and
    kept apart from a list price. A 0 that is not of its cache may be a model without a price: the cost is unknown. A
    hit in a gateway's cache costs nothing, whatever its counts, which are those of the first answer or zeros."""
    counts = {"prompt_tokens": 1, "completion_tokens": 1, **usage}
    choices = [{"message": {"content": "a dog on a hill"}, "finish_reason": "stop"}]
    body = orjson.dumps({"choices": choices, "usage": counts})

    async def main(url: str) -> None:
        async with rig(url, tmp_path, n=1, concurrency=1) as r:
            await generate(r.store, seeds(3), [r.forward], concurrency=1)
            calls = [call for key, _, _ in r.store.each_answer() for call in r.store.calls(key)]
            assert [call.usd for call in calls] == [usd] * 3
            assert [charged(call.facts.get("usage")) for call in calls] == [usd] * 3
            assert [call.usage.prompt_tokens for call in calls] == [counts["prompt_tokens"]] * 3
            assert r.store.spent().unpriced == 3 * (usd is None)

    with LoopbackTeacher(lambda ask: Reply(body=body, headers=headers)) as teacher:
        asyncio.run(main(teacher.url))


@pytest.mark.parametrize(("fresh", "read"), [(10, 60), (100, 60)])
def test_cached_tokens_counted_separately_from_the_prompt_are_added(fresh: int, read: int) -> None:
    """If there are more cached tokens than prompt tokens, or the total is the sum of the three, they were counted
    separately. They are neither lost nor taken for reasoning, which costs as much as output."""
    usage: dict[str, object] = {"prompt_tokens": fresh, "completion_tokens": 5, "total_tokens": fresh + 5 + read}
    usage |= {"prompt_tokens_details": {"cached_tokens": read}}
    body = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": usage}
    counted = read_answer(orjson.dumps(body), 0.1, {}).usage
    assert counted == Usage(prompt_tokens=fresh + read, completion_tokens=5, cached_tokens=read)


def test_token_counts_under_the_names_of_another_protocol_are_read() -> None:
    """Otherwise the cost would be unknown, and under a cap the maximum would be reserved."""
    body = {"choices": [{"message": {"content": "x"}}], "usage": {"input_tokens": 10, "output_tokens": 5}}
    assert read_answer(orjson.dumps(body), 0.1, {}).usage == Usage(prompt_tokens=10, completion_tokens=5)


def test_reasoning_tokens_missing_from_the_completion_count_are_added() -> None:
    """Everything that is not prompt is output: tokens that only the total includes were reasoning, and are charged."""
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 45,
        "prompt_cache_hit_tokens": 4,
        "completion_tokens_details": {"reasoning_tokens": 30},
    }
    body = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": usage}
    read = read_answer(orjson.dumps(body), 0.1, {}).usage
    assert read == Usage(prompt_tokens=10, completion_tokens=35, cached_tokens=4, reasoning_tokens=30)


def test_token_counts_under_the_names_of_the_responses_api_are_read() -> None:
    """Cached tokens, at a tenth of the price, and reasoning tokens."""
    usage = {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 64},
        "output_tokens": 50,
        "output_tokens_details": {"reasoning_tokens": 20},
        "total_tokens": 150,
    }
    body = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": usage}
    read = read_answer(orjson.dumps(body), 0.1, {}).usage
    assert read == Usage(prompt_tokens=100, completion_tokens=50, cached_tokens=64, reasoning_tokens=20)


@pytest.mark.parametrize(
    ("asked", "served", "usd"),
    [("", "priority", 22.5), ("auto", "flex", 5.625), ("flex", "default", 11.25), ("flex", None, 5.625)],
)
def test_request_costs_the_price_of_the_tier_that_served_it(
    asked: str, served: str | None, usd: float, tmp_path: Path
) -> None:
    """A project may be served with priority, at twice the price, whatever its requests say, and a flex request may be
    served in the default tier. The response names the tier."""
    with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        meter = Meter(store, teacher_at("https://api.openai.com/v1", "gpt-5"), "generate")
        reserved = meter.mark("p", {"service_tier": asked} if asked else {}, 10)
        assert meter.settle(reserved, MANY, None, {"service_tier": served})[0] == pytest.approx(usd)


def test_more_expensive_tier_is_reserved_for_once_it_was_seen(tmp_path: Path) -> None:
    """The project's own tier is in no request. After the first response in that tier, a request may cost twice as
    much."""
    with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        meter = Meter(store, teacher_at("https://api.openai.com/v1", "gpt-5"), "generate")
        body = {"max_tokens": 100}
        before = meter.max_usd(body, 1_000)
        assert before is not None
        meter.settle(meter.mark("p", body, 10), MANY, None, {"service_tier": "default"})
        assert meter.max_usd(body, 1_000) == before
        meter.settle(meter.mark("p", body, 10), MANY, None, {"service_tier": "priority"})
        assert meter.max_usd(body, 1_000) == pytest.approx(2 * before)
        assert meter.max_usd({**body, "service_tier": "default"}, 1_000) == before


def test_reservation_covers_the_default_tier_for_a_flex_request(tmp_path: Path) -> None:
    """OpenAI and gateways may serve a flex request in the default tier, at twice its price, and say so in the response.
    A cap reserves what that may cost."""
    with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        meter = Meter(store, teacher_at("https://api.openai.com/v1", "gpt-5"), "generate")
        usual, flexible, prior = (
            meter.max_usd({"max_tokens": 100, "service_tier": tier}, 1_000) for tier in ("default", "flex", "priority")
        )
        assert flexible == usual
        assert prior == pytest.approx(2 * (usual or 0))


def test_price_that_depends_on_the_hour_is_that_of_the_answer(tmp_path: Path) -> None:
    """DeepSeek charges twice as much from 01:00 to 04:00 and 06:00 to 10:00 UTC. A run that begins before such an hour
    and goes on in it pays both prices, and a cap reserves the higher one throughout. The spec may set one of them."""
    deepseek, at = teacher_at("https://api.deepseek.com/v1", "deepseek-flash"), [datetime(2026, 11, 30, 5, tzinfo=UTC)]
    prices = prices_of(deepseek, lambda: at[0])
    partly = prices_of(deepseek.model_copy(update={"usd_per_million_prompt_tokens": 1.0}), lambda: at[0])
    assert prices is not None
    assert partly is not None
    cheap, mixed, dear = prices.usd(MANY), partly.usd(MANY), partly.usd(MANY, highest=True)
    assert cheap is not None
    assert prices.usd(MANY, highest=True) == pytest.approx(2 * cheap)
    at[0] += timedelta(hours=2)
    assert prices.usd(MANY) == prices.usd(MANY, highest=True) == pytest.approx(2 * cheap)
    assert partly.usd(MANY) == partly.usd(MANY, highest=True) == dear != mixed
    assert "by the hour" in prices.source
    usual = prices_of(teacher_at("https://api.openai.com/v1", "gpt-5"))
    assert usual is not None
    assert usual.usd(MANY, highest=True) == usual.usd(MANY)
    with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        reserved = Meter(store, deepseek, "generate").max_usd({"max_tokens": 1_000_000}, 1_000_000)
    assert reserved == pytest.approx(2 * cheap), "at any hour"


def test_weekends_have_no_peak_hours(tmp_path: Path) -> None:
    """DeepSeek's peak hours are those of Monday to Friday. A cap that is opened on a Friday evening reserves Monday's
    price."""
    deepseek, at = teacher_at("https://api.deepseek.com/v1", "deepseek-flash"), [datetime(2026, 11, 27, 20, tzinfo=UTC)]
    prices = prices_of(deepseek, lambda: at[0])
    assert prices is not None
    cheap, peak = prices.usd(MANY), prices.usd(MANY, highest=True)
    assert peak == pytest.approx(2 * (cheap or 0))
    for day, hour, usd in (
        (28, 2, cheap),
        (28, 9, cheap),
        (29, 2, cheap),
        (30, 0, cheap),
        (30, 2, peak),
        (30, 9, peak),
    ):
        at[0] = datetime(2026, 11, day, hour, tzinfo=UTC)
        assert prices.usd(MANY) == usd, at[0]


def test_models_with_other_cheap_hours_have_them_on_weekends_too() -> None:
    """DeepSeek's older models cost less from 16:30 to 00:30 UTC. Its peak hours on weekdays are those of the newer
    ones, so a Saturday noon is no cheaper than a Friday noon."""
    at = [datetime(2026, 11, 27, 12, tzinfo=UTC)]
    prices = prices_of(teacher_at("https://api.deepseek.com/v1", "deepseek-chat"), lambda: at[0])
    assert prices is not None
    noon = prices.usd(MANY)
    at[0] += timedelta(days=1)
    assert prices.usd(MANY) == noon
    at[0] += timedelta(hours=8)
    assert prices.usd(MANY) < noon


@pytest.mark.parametrize(
    ("cost", "words"),
    [
        (Cost(requests=2, usd=0.0), "free"),
        (Cost(requests=2, usd=1.5), "$1.50"),
        (Cost(requests=2, usd=0.0123), "$0.0123"),
        (Cost(requests=2, usd=0.0000201), "$0.000020"),
        (Cost(requests=2, unpriced=2), "cost unknown"),
        (Cost(requests=3, usd=1.5, unpriced=1), "at least $1.50, 1 request of unknown cost"),
        (
            Cost(requests=3, usd=1.5, lost=2, reserved=0.2),
            "at least $1.50, 2 sent without an answer for at most $0.2000 more",
        ),
    ],
)
def test_sum_is_shown_with_its_unknown_part(cost: Cost, words: str) -> None:
    """An unknown cost never looks like zero."""
    assert describe_cost(cost) == words
    assert (cost.as_json()["usd"] is None) == ("unknown" in words or "without" in words)
    assert Cost.read(cost.as_json()) == cost
    assert dollars(None) == "cost unknown"


def test_uncounted_reasoning_tokens_are_not_zero() -> None:
    """A run counts reasoning tokens. The sums of a store do not have them separately, and do not show them as 0."""
    thought = Usage(prompt_tokens=3, completion_tokens=9, reasoning_tokens=8)
    assert Cost(usage=thought).as_json()["reasoning_tokens"] == 8
    assert "reasoning_tokens" not in Cost(usage=Usage(prompt_tokens=3, completion_tokens=9)).as_json()

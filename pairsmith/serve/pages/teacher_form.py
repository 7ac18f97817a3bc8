"""The Teacher step of the setup: the teachers to choose from, and parsing the form."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from starlette.datastructures import ImmutableMultiDict

from pairsmith.serve.network import host_of
from pairsmith.serve.pages.shell import parse_positive
from pairsmith.serve.problems import Refusal
from pairsmith.teachers.search import APIS, EMBEDDED, LOCAL
from schemas.errors import PairsmithError, UsageError
from schemas.spec import TeacherSettings

PRICES = {"price_in": "usd_per_million_prompt_tokens", "price_out": "usd_per_million_completion_tokens"}


def teacher_options(allowed: Collection[str] = ()) -> list[dict[str, Any]]:
    """The teachers to choose from: the embedded model, known API services, and servers on this machine. `allowed` holds
    the hosts that an owner has allowed."""
    rows: list[dict[str, Any]] = [
        {
            "url": "embedded",
            "model": EMBEDDED.model,
            "key_env": "",
            "says": "on this machine, $0; very small: fine for trying things out, weak as a teacher",
        }
    ]
    for api in APIS:
        is_set = bool(os.environ.get(api.key_env))
        says = f"{api.key_env} is {'set' if is_set else 'not set'}"
        rows.append({"url": api.url, "model": api.models[0], "key_env": api.key_env, "says": says})
    for name, url in LOCAL:
        first = "" if str(host_of(url)) in allowed else "; an owner must allow it first, under Settings"
        rows.append({"url": url, "model": "", "key_env": "", "says": f"{name} on this machine; $0{first}"})
    return rows


def host_to_allow(texts: Mapping[str, str], refused: PairsmithError | None) -> str:
    """The host, with its key, of a teacher that was refused because no owner has allowed it; otherwise empty."""
    url, _, key_env = teacher_in_form(texts)
    host = host_of(url)
    if host is None or not isinstance(refused, Refusal) or refused.code != "fenced":
        return ""
    return f"{host} with {key_env}" if key_env else str(host)


def with_default_model(texts: ImmutableMultiDict[str, str], models: Sequence[str]) -> ImmutableMultiDict[str, str]:
    """Fill in the first model of a tested server if the form names no model."""
    if not models or teacher_in_form(texts)[1]:
        return texts
    return ImmutableMultiDict([*(pair for pair in texts.multi_items() if pair[0] != "model"), ("model", models[0])])


def teacher_keys(texts: Mapping[str, str], before: TeacherSettings) -> dict[str, Any]:
    """The spec keys that the form sets. Raises UsageError.

    When the teacher changes, unchanged prices of the teacher `before` are dropped, and so is the single attempt set for
    the embedded model. A known server on this machine is free unless the form has a price."""
    url, model, key_env = teacher_in_form(texts)
    if not model:
        raise UsageError("the model is missing.", fix="Enter its name. Test lists the available models.")
    keys: dict[str, Any] = {"teacher.url": url, "teacher.model": model, "teacher.key_env": key_env or None}
    if before.url == EMBEDDED.url != url and before.attempts == 1:
        keys["teacher.attempts"] = None
    same, free = (url, model) == (before.url, before.model), url in dict(LOCAL).values()
    for name, key in PRICES.items():
        if name in texts:
            price = _price(texts[name])
            price = price if same or price != getattr(before, key) else None
            keys[f"teacher.{key}"] = 0.0 if price is None and free else price
    return keys


def drops_a_price(texts: Mapping[str, str], keys: Mapping[str, Any]) -> bool:
    """Whether a price in the form was dropped from the spec `keys`."""
    return any(
        texts.get(name, "").strip() and _price(texts[name]) != keys[f"teacher.{key}"] for name, key in PRICES.items()
    )


def _price(text: str) -> float | None:
    return 0.0 if text.strip().lstrip("$") in ("0", "0.0") else parse_positive(text, float, "price", unit="$")


def teacher_in_form(texts: Mapping[str, str]) -> tuple[str, str, str]:
    """Address, model and key variable of the teacher in the form."""
    chosen = texts.get("teacher", "")
    if chosen == "other":
        return texts.get("url", "").strip(), texts.get("model", "").strip(), texts.get("key_env", "").strip()
    row = next((row for row in teacher_options() if row["url"] == chosen), None)
    url, model, key_env = (row["url"], row["model"], row["key_env"]) if row else ("embedded", EMBEDDED.model, "")
    named = texts.get("model", "").strip() if url != "embedded" else ""
    return url, named or model, key_env

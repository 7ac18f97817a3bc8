"""What an HTTP status of a chat-completions endpoint means: whose matter it is, a row's or every row's.

A status alone does not tell: providers say a wrong key with 400 (Gemini) or 403, an empty account with 400 (Anthropic,
LiteLLM) or 429 (OpenAI), moderation with 403 (OpenRouter). So the error's words count too, unless the request has them:
an error may quote the row. And it counts whether this endpoint has answered before: what fails then is not the address
or a setting, and the key only if it was shut meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple

from schemas.errors import AuthError, TeacherError
from schemas.records import Json, Sampling

Kind = Literal["key", "quota", "throttled", "server", "model", "setting", "refused", "address"]


class Meaning(NamedTuple):
    """`key`, `quota`, `model`, `setting` and `address` concern every row, `refused` this one, until too many are;
    `throttled` and `server` pass. `setting` names the one that is not taken."""

    kind: Kind
    setting: str = ""


_PASSING = (408, 409, 424, 425, 498, 499)  # 424: a generation failed (TGI, Bedrock), 498: no capacity (Groq)
# Ours, or learnt by asking again (`synth.dialect`), or a matter of one long row.
_NO_SETTINGS = {"model", "messages", "n", "max_tokens", "max_completion_tokens"}

_NO_QUOTA = re.compile(
    r"insufficient[_ ](quota|balance|credits?|funds)|billing_hard_limit|billing_not_active"
    r"|budget[_ ](has been |is )?exceeded|exceeded[_ ]?(token[_ ]?)?budget|credit[_ ]balance[_ ](is too low|exhausted)"
    r"|spend(ing)?[_ ]limit|billing_error|account_deactivated|(key|credit|budget|_usage)[_ ]limit[_ ](exceeded|reached)"
    # Moonshot, Zhipu, DashScope, Volcengine, OpenRouter's free models, xAI
    r"|exceeded_current_quota|balance (is )?(not enough|insufficient)|not enough balance|余额不足|欠费|arrearage"
    # Volcengine; of a day or a month, in a 429 too: Cloudflare, watsonx, Cohere's trial keys
    r"|account_?overdue|(daily|monthly)( \w+){0,2} allocation|quota for this (day|month)|limited to [\w, ]+/ ?month"
    # Gemini's violation of a day's quota comes with a delay of seconds, which would not help.
    r"|FreeTierOnly|free-models-per-day|used all available credits|(requests|tokens)PerDay"
    # Ollama's cloud, the coding plans of Z.ai, Gemini: of hours, which no retry waits for
    r"|(hourly|session|daily|weekly|monthly) usage limit|usage limit reached for|(weekly|monthly) limit exhausted"
    r"|exceeded your (daily|weekly|monthly) quota",
    re.IGNORECASE,
)
# Alibaba says so of the tokens of a minute; an account that owes it money has other words.
_OF_A_MINUTE = re.compile("exceeded your current quota", re.IGNORECASE)
_WORDS = r"(?: ['\"]?[\w.,:/@()-]+['\"]?){0,5}"  # of one sentence, which no quoted row interrupts
_NO_BALANCE = re.compile("insufficient balance", re.IGNORECASE)  # with 500, too: MiniMax
# The same where no 429 says it, which may speak of a minute: Anthropic, Azure, Hugging Face, Cloudflare, Google.
_USED_UP = re.compile(
    rf"\b(usage|billing|monthly|daily|weekly)( \w+)? (limits?|quota|allowance|allocation)"
    rf"{_WORDS} (exceeded|reached|exhausted|used up)"
    rf"|\b(exceeded|reached|exhausted|used up|over){_WORDS} (usage|billing|monthly|daily|weekly|free|included)( \w+)?"
    r" (limits?|quota|allowance|allocation|credits?)"
    r"|out of (call volume quota|credits?)|(does ?n[o']t have|have no|has no) (any )?credits?\b"
    rf"|requires billing to be enabled|\bbilling account{_WORDS} (disabled|not found|closed)",
    re.IGNORECASE,
)
_WRONG_KEY = re.compile(
    r"api[ _-]?key.{0,60}(not valid|invalid|expired|incorrect|missing|provided)"
    r"|(invalid|incorrect|expired|missing|no).{0,20}api[ _-]?key|api_key_invalid|authentication_error",
    re.IGNORECASE | re.DOTALL,
)
_SHUT = re.compile(
    rf"\b(account|organi[sz]ation|team|workspace|subscription|consumer|key){_WORDS} (is|are|was|been)( \w+)?"
    r" (suspended|disabled|deactivated|restricted|terminated|blocked|banned|revoked|expired|reported as leaked)"
    r"|\bapi[ _-]?key (is |was |has )?(not valid|invalid|expired|revoked)"
    rf"|\b(token|credentials?){_WORDS} (has|have|is|are) expired",  # Bedrock
    re.IGNORECASE,
)
_OF_AN_ACCOUNT = (400, 403, 412)
# Codes under which a 400 or 403 asks to go slower: AWS, Google.
_SLOWER = re.compile(r"throttl|service_?quota_?exceeded|rate_?limit_?exceeded|too_?many_?requests", re.IGNORECASE)
_CODES = ("code", "type", "__type", "error_code", "reason", "status")
_OF_AN_ADDRESS = (404, 405, 406, 407, 410, 411, 415, 421, 426)
_RATE = re.compile(r"per[_ -]?(second|minute|hour)|rate[_ ]?limit", re.IGNORECASE)
_NO_ACCESS = re.compile(
    r"\b(key|credentials?|permissions?|access|scopes?|region|country|denied|(un)?authori[sz](ed|ation))\b"
    r'|"forbidden"',  # and nothing else (AWS)
    re.IGNORECASE,
)
# Under the same status, in words that may name the key as well (xAI): what is disliked is a text.
_OF_A_TEXT = re.compile(r"moderat|flagged|guardrail|violates|safety|content[ _](filter|polic)|prompt injection", re.I)
_NO_MODEL = re.compile(
    r"model.{0,80}(not exist|not found|is not (available|supported|a chat model)|decommissioned|identifier is invalid)"
    r"|(unknown|invalid|not a valid|no such|malformed publisher)[ _]model|unable to access (non-serverless )?model",
    re.IGNORECASE | re.DOTALL,
)
_NOT_TAKEN = re.compile(
    r"un(recogni[sz]ed|known|supported|expected|available)|not (supported|permitted|allowed|enabled)|deprecated"
    r"|does ?n[o']t support|cannot (find field|both)|extra_forbidden|only the default",
    re.IGNORECASE,
)
# A value that cannot be, in words that anybody may write: TGI, Anthropic, DeepSeek, Kimi, StepFun, Zhipu.
_NO_VALUE = re.compile(
    r"\b((must|should|may only|can only) be|must between|invalid type)\b"
    r"|\b(valid range|only [\d.-]+ is allowed|is illegal)\b",
    re.I,
)
# How an error begins that no wait mends: 429 of OpenAI for more tokens than a minute has, 500 of llama.cpp.
_TOO_LARGE = re.compile(
    r"request too large|the request exceeds the available context|context shift is disabled|context_length_exceeded",
    re.IGNORECASE,
)
# Nor that of a chat template that does not take these turns, which llama.cpp and SGLang say with 500.
_OF_A_TEMPLATE = re.compile(
    r"jinja|raise_exception|template ?error|chat[ _]template|\bsystem role (is )?not supported|roles must alternate",
    re.IGNORECASE,
)
# And how one does that passes: what loads a model when it is asked (LM Studio) has lost it for a moment.
_NOT_LOADED = re.compile(
    r"(the )?model (was |is |has )?(been )?(unloaded|crashed|not loaded|(re)?loading)|no models? (is |are )?loaded"
    r"|failed to load model",
    re.IGNORECASE,
)


def meaning(status: int, error: Json, text: str, body: Json, *, answered: bool, url: str = "") -> Meaning:
    """What `status` says of the request `body`. `error` is the error's object, `text` the whole answer; `answered`: the
    endpoint, at `url`, has answered a request of this run. A pure function: nothing is asked."""
    message = str(error.get("message") or "")[:2000]
    words = text[:2000] if message in text else f"{message} {text[:2000]}"  # JSON may write any letter as an escape
    kind: Kind
    if status == 429 and "aliyun" in f"{url} {words}" and _OF_A_MINUTE.search(message):
        kind = "throttled"
    elif status == 402 or (400 <= status < 500 and _is_of_quota(status, words, body)) or _NO_BALANCE.match(message):
        kind = "quota"
    elif status == 401 or _is_about_the_key(status, words, body, answered=answered):
        kind = "key"
    elif status in (429, 500) and (_TOO_LARGE.match(message) or _is_of_a_template(status, words, body)):
        kind = "refused"
    elif status == 429 or (status in (400, 403) and _SLOWER.search(" ".join(str(error.get(name)) for name in _CODES))):
        kind = "throttled"
    elif status >= 500 or status in _PASSING or (answered and status < 400) or _is_not_loaded(status, error):
        kind = "server"
    elif status in (400, 404, 410, 422) and not answered and (status in (404, 410) or _NO_MODEL.search(words)):
        kind = "model"
    elif status in (400, 403, 422) and (setting := refused_setting(error, words, body, answered=answered)):
        return Meaning("setting", setting)
    elif answered or (status >= 400 and status not in _OF_AN_ADDRESS):
        kind = "refused"
    else:
        kind = "address"
    return Meaning(kind)


def may_be_a_slip(status: int, kind: Kind, words: str, body: Json) -> bool:
    """Whether what is turned down after others were answered may be taken the next time: a key that one of many
    gateways does not know for a moment, or a gateway's page. What names the account, or moderates, is meant."""
    of_key = status == 400 and _says(_WRONG_KEY, words[:2000], body)  # Gemini, xAI
    if kind == "key":
        return status == 401 or of_key
    page = words.lstrip().startswith("<")
    return kind == "refused" and (of_key or (status == 403 and (page or _denies_access(words, body))))


def _denies_access(words: str, body: Json) -> bool:
    return not _OF_A_TEXT.search(words) and _says(_NO_ACCESS, words, body)


def _is_of_a_template(status: int, words: str, body: Json) -> bool:
    return status == 500 and _says(_OF_A_TEMPLATE, words, body)


def _is_not_loaded(status: int, error: Json) -> bool:
    return status in (400, 404) and _NOT_LOADED.match(str(error.get("message"))) is not None


def _is_of_quota(status: int, words: str, body: Json) -> bool:
    used_up = status in _OF_AN_ACCOUNT and _says(_USED_UP, words, body) and not _RATE.search(words)
    return used_up or _says(_NO_QUOTA, words, body)


def _is_about_the_key(status: int, words: str, body: Json, *, answered: bool) -> bool:
    if status in _OF_AN_ACCOUNT and _says(_SHUT, words, body):
        return True
    if answered or status not in (400, 403):
        return False
    if status == 403 and not words.lstrip().startswith("<"):  # a page is a firewall's, which may dislike this row
        return not _OF_A_TEXT.search(words) and _NO_ACCESS.search(words) is not None
    return _WRONG_KEY.search(words) is not None


def _says(what: re.Pattern[str], words: str, body: Json) -> bool:
    """Whether the endpoint says it, and in words of its own: an error may quote the row."""
    phrases = [place[0].lower() for place in what.finditer(words)]
    asked = " ".join(str(message.get("content")) for message in body.get("messages", ()) if phrases).lower()
    return any(phrase not in asked for phrase in phrases)


def refused_setting(error: Json, text: str, body: Json, *, answered: bool) -> str:
    """The setting of `body` that the endpoint does not take, in whichever way it says so; empty if it says no such
    thing. Once it has answered, only a code of its own is believed: an error's text may quote the row."""
    settings = body.keys() - _NO_SETTINGS
    code, param = str(error.get("code") or ""), str(error.get("param") or "").rpartition(".")[2]
    if param in settings and code.startswith(("unsupported", "unknown", "unrecognized")):
        return param
    if answered:
        return ""
    if param in settings:  # also for a value that cannot be (vLLM: "Input should be a valid integer")
        return param
    if not _NOT_TAKEN.search(text):
        asked = str(body.get("messages")).lower()
        settings = {name for name in settings if name.lower() not in asked} if _NO_VALUE.search(text) else set()
    named = [
        (place.start(), name)
        for name in settings
        # A long name may begin a sentence ("Logprobs is not enabled"), or be spelt another way ("presencePenalty").
        if (place := re.search(rf"(?<!\w){_spelt(name)}(?!\w)", text, re.IGNORECASE if len(name) > 4 else 0))
    ]
    return min(named)[1] if named else ""


def _spelt(name: str) -> str:
    return re.escape(name).replace("_", "[_ ]?")


class Place(NamedTuple):
    """Whom a request was sent to: what a person can correct."""

    url: str
    completions: str
    model: str
    key_env: str | None
    has_key: bool


def every_rows(kind: Kind, setting: str, sentence: str, place: Place) -> TeacherError:
    """The error that ends a run: what is wrong concerns every row. `sentence` is what the endpoint said."""
    if kind == "key":
        return _wrong_key(sentence, place)
    if kind == "quota":
        return TeacherError(
            f"The account has no quota left ({sentence}).",
            where=place.url,
            fix="Everything answered is kept. Add credit or wait until the quota is renewed, then run the same command "
            "again.",
        )
    if kind == "setting":
        fix = f'Take it out of the sampling table of pairsmith.toml, or write {setting} = "unset" there.'
        if setting not in Sampling.model_fields:  # the spec knows no such key
            fix = f"Take {setting} out of extra in the sampling table of pairsmith.toml."
        return TeacherError(
            f"Model '{place.model}' does not take the setting '{setting}' ({sentence}).",
            where=place.url,
            why="Every request would be refused.",
            fix=fix,
        )
    return TeacherError(
        f"The endpoint answers {sentence}.".replace("..", "."),
        where=place.completions,
        fix="Check teacher.url: it should be the address that /chat/completions is added to, or the whole one.",
    )


def _wrong_key(sentence: str, place: Place) -> AuthError:
    if not place.key_env:
        fix = "Name the environment variable that holds the key in teacher.key_env."
    elif not place.has_key:
        fix = f"Set the environment variable {place.key_env} to the key."
    else:
        fix = f"Check the key in the environment variable {place.key_env}, and that it may use '{place.model}'."
    return AuthError(f"The endpoint refuses the key ({sentence}).", where=place.url, fix=fix)


def unknown_model(sentence: str, place: Place, served: Sequence[str]) -> TeacherError:
    """The error for a model that is not there, with those that are."""
    if served:
        listed = ", ".join(served[:20]) + (f" and {len(served) - 20} more" if len(served) > 20 else "")
        fix = f"Set teacher.model to one that it serves: {listed}."
    else:
        fix = f"Check teacher.model, and teacher.url: requests go to {place.completions}."
    return TeacherError(f"The endpoint does not know model '{place.model}' ({sentence}).", where=place.url, fix=fix)

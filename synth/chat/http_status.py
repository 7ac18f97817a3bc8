"""Interprets the HTTP status of a chat-completions endpoint: whether it concerns one row or every row.

The status alone is not enough. Providers report a wrong key with 400 (Gemini) or 403, an empty account with 400
(Anthropic, LiteLLM) or 429 (OpenAI), and moderation with 403 (OpenRouter). So the error's code and type count, and its
text without what it quotes of the request, because a row may be about keys and quotas. It also matters whether this
endpoint has answered before: if it has, neither the address nor a setting is wrong, and the key only if it was disabled
meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import Literal, NamedTuple
from urllib.parse import urljoin, urlsplit

from schemas.errors import AuthError, TeacherError
from schemas.records import Json, Sampling
from schemas.wording import listed

Kind = Literal["key", "quota", "throttled", "server", "model", "setting", "refused", "address"]


class Meaning(NamedTuple):
    """What a status means. `key`, `quota`, `model`, `setting` and `address` concern every row; `refused` concerns this
    row, until too many are refused; `throttled` and `server` are temporary. `setting` names a setting that the endpoint
    does not accept."""

    kind: Kind
    setting: str = ""


_TEMPORARY = (408, 409, 424, 425, 498, 499)  # 424: a generation failed (TGI, Bedrock), 498: no capacity (Groq)
# Set by pairsmith, learnt by asking again (`synth.endpoints.dialect`), or the effect of a single long row.
_NOT_SETTINGS = {"model", "messages", "n", "max_tokens", "max_completion_tokens"}

_NO_QUOTA = re.compile(
    r"insufficient[_ ](user[_ ])?(quota|balance|credits?|funds)|billing_hard_limit|billing_not_active"
    r"|budget[_ ](has been |is )?exceeded|exceeded[_ ]?(token[_ ]?)?budget|credit[_ ]balance[_ ](is too low|exhausted)"
    r"|spend(ing)?[_ ]limit|billing_error|account_deactivated|(key|credit|budget|_usage)[_ ]limit[_ ](exceeded|reached)"
    # Moonshot, Zhipu, DashScope, Volcengine, OpenRouter's free models, xAI, Novita
    r"|exceeded_current_quota|balance[_ ](is )?(not[_ ]enough|insufficient)|not[_ ]enough[_ ]balance"
    r"|余额不足|欠费|arrearage"
    # One API and New API, which many gateways run; Tencent
    r"|pre_consume_token_quota_failed|额度(不足|已用尽)|exceed_token_quota_limit"
    # Volcengine, watsonx; daily or monthly limits, also under 429: Cloudflare, watsonx, Cohere's trial keys
    r"|account_?(overdue|quota_?exceeded)|token_quota_reached"
    r"|(daily|monthly)( \w+){0,2} allocation|quota for this (day|month)|limited to [\w, ]+/ ?month"
    # Gemini reports an exceeded daily quota with a delay of seconds, which would not help.
    r"|FreeTierOnly|free-models-per-day|used all available credits|(requests|tokens)PerDay"
    r"|too many (tokens|requests) per day"  # Bedrock
    # Ollama's cloud, coding plans of Z.ai and Volcengine, Gemini: limits of hours, too long to wait for with retries
    r"|(hour(ly)?|session|daily|weekly|monthly) usage (limit|quota)|usage limit reached for"
    r"|(weekly|monthly) limit exhausted"
    r"|exceeded your (daily|weekly|monthly) quota"
    # Zhipu in Chinese: limits of hours, days and weeks, an expired plan, a locked account; DashScope's free tier
    r"|使用上限|今日[^。,]{0,16}(限额|上限)|套餐已到期|账[户号]已被锁定|free allocated quota exceeded"
    # OpenAI, where a gateway leaves out the code; Gemini's and DashScope's limits per minute have the same words
    r"|exceeded your current quota.{0,120}\bopenai\.com"
    # Groq: the organization's spend limit; Vercel: no credit card on file
    r"|blocked_api_access|customer_verification_required",
    re.IGNORECASE,
)
# The same in words that a text about an account may contain, which a 400 or 422 may quote:
# Gemini's prepaid and capped projects, Portkey; Volcengine's free and limited inference; Cerebras, Moonshot, Zhipu,
# Baidu: a day's limit; Zhipu: a locked account, with 429.
_SPENT = re.compile(
    r"pre-?pay(ment)? credits are depleted|(spending|spend) cap|exhausted its free quota|set inference limit"
    r"|(?<!retry )(?<!token )(?<!tokens )(?<!thinking )(?<!reasoning )budget exhausted"
    r"|(tokens|requests) per day limit exceeded|reached TPD rate limit|organization max [RT]PD\b"
    r"|daily( \w+){0,2} limit( \w+){0,6} (exceeded|reached)|account has( \w+){0,4} been locked"
    r"|\bplan( package)? has expired",  # Z.ai
    re.IGNORECASE,
)
# Alibaba uses these words for tokens per minute; it has other words for an account in arrears.
_QUOTA_PER_MINUTE = re.compile("exceeded your current quota", re.IGNORECASE)
# Up to five words of one sentence that does not deny it, without a quoted row in between.
_WORDS = r"(?: (?!(?:not|never|if|when|until|before)\b)['\"]?(?:[\w,:/@()-]|\.(?=\w))+['\"]?){0,5}"
_NO_BALANCE = re.compile("insufficient balance", re.IGNORECASE)  # MiniMax: also with status 500


def _used_up(limit: str) -> str:
    """A pattern for a used-up `limit`: "daily quota exceeded", "you have reached your monthly limit"."""
    what, ended = (
        rf"({limit})( \w+)? (limits?|quota|allowance|allocation|credits?)",
        "exceeded|reached|exhausted|used up",
    )
    return rf"\b{what}{_WORDS} ({ended})|\b({ended}|over){_WORDS} {what}"


# A used-up account: Anthropic, Azure, Hugging Face, Cloudflare, Google. With 429, "usage" and "free" may mean a minute.
_USED_UP_IN_DAYS = re.compile(_used_up("monthly|daily|weekly"), re.IGNORECASE)
_USED_UP = re.compile(
    rf"{_used_up('usage|billing|monthly|daily|weekly|free|included')}"
    r"|out of (call volume quota|credits?)|(do(es)? ?n[o']t have|have no|has no) (any |enough )?credits?\b"
    r"|(enter|add|requires) (a |your )?(valid )?payment method"  # DeepInfra
    rf"|requires billing to be enabled|\bbilling account{_WORDS} (disabled|not found|closed)"
    r"|\b(token|request|call) quota (is |has been |was )?(exceeded|exhausted|used up)",  # Azure's API Management
    re.IGNORECASE,
)
_WRONG_KEY = re.compile(
    r"api[ _-]?key.{0,60}(not valid|invalid|expired|incorrect|missing|provided)"
    r"|(invalid|incorrect|expired|missing|no).{0,20}api[ _-]?key|api_key_invalid|authentication_error"
    r"|no_db_connection",  # LiteLLM without a database, for any key but its own
    re.IGNORECASE | re.DOTALL,
)
_ACCOUNT_DISABLED = re.compile(
    rf"\b(account|organi[sz]ation|team|workspace|subscription|consumer|key|your access){_WORDS} (is|are|was|been)"
    r"( \w+)?"
    r" (suspended|disabled|deactivated|restricted|terminated|blocked|banned|revoked|expired|reported as leaked)"
    r"|\bapi[ _-]?key (is |was |has )?(not valid|invalid|expired|revoked)"
    rf"|\b(token|credentials?)({_WORDS} (has|have|is|are))? expired|\bexpired[_ ]key\b"  # Bedrock, earlier LiteLLM
    r"|您无权访问|套餐暂未开放",  # Zhipu: the plan lacks this model
    re.IGNORECASE,
)
_ACCOUNT_STATUSES = (400, 403, 412)
_DISABLED_STATUSES = (*_ACCOUNT_STATUSES, 429)  # OpenAI: "Your access was terminated"
# Error codes under which a 400 or 403 means throttling: AWS, Google.
_THROTTLING_CODES = re.compile(
    r"throttl|service_?quota_?exceeded|rate_?limit_?exceeded|too_?many_?requests", re.IGNORECASE
)
# Codes of five digits that begin with the status, which FastChat sends with 400 whatever it is.
_CODE_WITH_STATUS = re.compile(r"(401|429|50[0-4])\d\d")
_CODE_FIELDS = ("code", "type", "__type", "error_code", "reason", "status", "Code")
_ADDRESS_STATUSES = (404, 405, 406, 407, 410, 411, 415, 421, 426)
_LENGTH_STATUSES = (413, 414, 431)
_LATER = re.compile(r"\b(try again|retry) (later|in|after|shortly)\b|\btemporarily\b|\boverloaded\b", re.IGNORECASE)
_RATE = re.compile(r"per[_ -]?(second|minute|hour)|rate[_ ]?limit", re.IGNORECASE)
_NO_ACCESS = re.compile(  # "_" ends a word of a code: PERMISSION_DENIED
    r"(?<![^\W_])(key|credentials?|permissions?|access|scopes?|region|country|denied|(un)?authori[sz](ed|ation))"
    r'(?![^\W_])|"forbidden"',  # the whole message (AWS)
    re.IGNORECASE,
)
# The same status and perhaps the word "key" (xAI), but the objection is to a text.
_MODERATION = re.compile(
    r"moderat|flagged|guardrail|violates|safety|content[ _](filter|polic)|prompt injection|deny-?listed"
    r"|\b(prompt|input|response|output|content) (was |is )?blocked|\bblocked (prompt|input|response|output|content)",
    re.IGNORECASE,
)
# Cloudflare's gateway (codes 2016 and 2017), which documents no HTTP status for it.
_BLOCKED_BY_GATEWAY = re.compile("(prompt|response) blocked due to security configurations", re.IGNORECASE)
_NO_MODEL = re.compile(
    r"model.{0,80}(not exist|not found|is( not|n['\u2019]t) (available|supported|a chat model)|decommissioned"
    r"|identifier is invalid)"
    r"|(unknown|invalid|not a valid|no such|malformed publisher|unavailable)[ _]model"
    r"|unable to access (non-serverless )?model"
    r"|模型不存在",  # Zhipu
    re.IGNORECASE | re.DOTALL,
)
_UNSUPPORTED = re.compile(
    r"un(recogni[sz]ed|known|supported|expected|available)|not (supported|permitted|allowed|enabled)|deprecated"
    r"|does ?n[o']t support|cannot (find field|both)|extra_forbidden|only the default",
    re.IGNORECASE,
)
# An invalid value, in words that could occur in any text: TGI, Anthropic, DeepSeek, Kimi, StepFun, Zhipu.
_INVALID_VALUE = re.compile(
    r"\b((must|should|may only|can only) be|must between|invalid type)\b"
    r"|\b(valid range|range: [\d.-]+|only [\d.-]+ is allowed|is illegal)\b",
    re.IGNORECASE,
)
# Errors that retrying cannot fix: OpenAI's 429 for more tokens than a minute allows, llama.cpp's 500, LiteLLM's 429.
_TOO_LARGE = re.compile(
    r"request too large|the request exceeds the available context|context shift is disabled|context_length_exceeded",
    re.IGNORECASE,
)
# Chat templates that do not accept these turns, which llama.cpp and SGLang report with 500: retrying cannot fix it.
_TEMPLATE_ERROR = re.compile(
    r"jinja|raise_exception|template ?error|chat[ _]template|\bsystem role (is )?not supported|roles must alternate",
    re.IGNORECASE,
)
# Errors that are temporary: a server that loads models on demand (LM Studio, Featherless) has none loaded. They begin
# with these words, perhaps after a gateway's ("The requested model is not loaded" means another one than the spec's).
_NOT_LOADED = re.compile(
    r"(?:\A|(?<=[\"':-])|(?<=[:-] ))((the|this) )?"
    r"(model (was |is |has )?(been |currently )?(unloaded|crashed|not (loaded|ready)|cold|(re)?loading)\b"
    r"|model name=\S+ is not (loaded|running)\b|no models? (is |are )?loaded|failed to load model)",
    re.IGNORECASE,
)


_CODE = re.compile(r"[\w.:-]{1,80}")  # the form of a code, which quotes nothing
_WORD = re.compile(r"[^\W_]+")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|[nrtbf\"'/\\])")  # of JSON and of Python, perhaps doubled
_QUOTED_WORDS = 4  # this many words in the order of the request are a quotation
_QUOTED = " \N{HORIZONTAL ELLIPSIS} "  # replaces it; belongs to no phrase
_APART = "\n" * 200  # between two forms of one message: no phrase that is looked for is as long


def meaning(status: int, error: Json, text: str, body: Json, *, answered: bool, url: str = "") -> Meaning:
    """Interpret `status` as the response to the request `body`. A pure function.

    `error` is the error object, `text` the whole response body. `answered`: the endpoint, at `url`, has answered a
    request of this run before.
    """
    if status == 400 and (coded := _CODE_WITH_STATUS.fullmatch(str(error.get("code")))):
        status = int(coded[1])
    message = str(error.get("message") or "")[:2000]
    words = text[:2000] if message in text else f"{message}{_APART}{text[:2000]}"  # JSON may escape any character
    codes = _codes(error)
    kind: Kind
    if status == 429 and "aliyun" in f"{url} {words}" and _QUOTA_PER_MINUTE.search(message):
        kind = "throttled"
    elif (
        status == 402
        or (400 <= status < 500 and (_is_quota_error(status, message, words, body) or _NO_QUOTA.search(codes)))
        or _begins_or_says(_NO_BALANCE, message, words, body)
    ):
        kind = "quota"
    elif status == 401 or _is_key_error(status, words, body, answered=answered):
        kind = "key"
    elif _is_final(status, message, words, body) or (status in (429, 500) and _TOO_LARGE.search(codes)):
        kind = "refused"
    elif status == 429 or (status in (400, 403) and _THROTTLING_CODES.search(codes)):
        kind = "throttled"
    elif (
        (status >= 500 and status != 501)  # not implemented: n, for example
        or status in _TEMPORARY
        or (answered and status < 400)
        or (status in (400, 404) and _begins_or_says(_NOT_LOADED, message, words, body))
    ):
        kind = "server"
    elif (
        status in (400, 404, 410, 422)
        and not answered
        and (status in (404, 410) or says_itself(_NO_MODEL, words, body))
    ):
        kind = "model"
    elif status in (400, 403, 422) and (setting := refused_setting(error, words, body, answered=answered)):
        return Meaning("setting", setting)
    elif answered or (status >= 400 and status not in _ADDRESS_STATUSES):
        kind = "refused"
    else:
        kind = "address"
    return Meaning(kind)


def may_be_temporary(status: int, kind: Kind, words: str, body: Json) -> bool:
    """Whether a refusal, after other requests were answered, may be temporary: a key, an address or a model that one of
    several gateways does not know for a moment, or a gateway's error page. A refusal that names the account, the row's
    length, or moderation, is final."""
    of_key = status == 400 and says_itself(_WRONG_KEY, words[:2000], body)  # Gemini, xAI
    if kind == "key":
        return status == 401 or of_key
    page = words.lstrip().startswith("<") and status not in _LENGTH_STATUSES
    # No row is the reason for these statuses, or for a server that asks to try again.
    later = status in _ADDRESS_STATUSES or says_itself(_LATER, words[:2000], body)
    again = page or (status == 403 and _denies_access(words, body)) or (later and not _MODERATION.search(words))
    return kind == "refused" and (of_key or again)


def _denies_access(words: str, body: Json) -> bool:
    return not _MODERATION.search(words) and says_itself(_NO_ACCESS, words, body)


def _is_final(status: int, message: str, words: str, body: Json) -> bool:
    """Whether an error that by its status is temporary is a refusal by its text, also behind a gateway's words: the row
    is too long, the chat template does not accept it, or it was moderated (Cohere's 498: "a deny-listed token")."""
    if status in (429, 500) and _begins_or_says(_TOO_LARGE, message, words, body):
        return True
    if says_itself(_BLOCKED_BY_GATEWAY, words, body):
        return True
    final = _TEMPLATE_ERROR if status == 500 else _MODERATION if status in (424, 498) else None
    return final is not None and says_itself(final, words, body)


def _is_quota_error(status: int, message: str, words: str, body: Json) -> bool:
    pattern = _USED_UP if status in _ACCOUNT_STATUSES else _USED_UP_IN_DAYS if status == 429 else None
    # In the message: the code of every 429 may be "rate_limit_exceeded".
    used_up = pattern is not None and says_itself(pattern, words, body) and not _RATE.search(message or words)
    spent = status not in (400, 422) and says_itself(_SPENT, words, body)
    return used_up or spent or says_itself(_NO_QUOTA, words, body)


def _is_key_error(status: int, words: str, body: Json, *, answered: bool) -> bool:
    if status in _DISABLED_STATUSES and says_itself(_ACCOUNT_DISABLED, words, body):
        return status != 429 or not says_itself(_LATER, words, body)  # "temporarily blocked": throttled
    if answered or status not in (400, 403):
        return False
    if status == 403 and not words.lstrip().startswith("<"):  # an HTML page is a firewall's, and may concern this row
        return not _MODERATION.search(words) and _NO_ACCESS.search(_own_words(words, body)) is not None
    return says_itself(_WRONG_KEY, words, body)


def _codes(error: Json) -> str:
    """The codes of an error, which are the endpoint's own words whatever the row contains."""
    values = (str(error.get(name)) for name in _CODE_FIELDS)
    return " ".join(value for value in values if _CODE.fullmatch(value))


def _own_words(words: str, body: Json) -> str:
    """`words` without what they quote of the request, in whatever case, spacing and escaping."""
    plain = _ESCAPE.sub(_unescaped, words)
    quotable = set[tuple[str, ...]]()
    for message in body.get("messages", ()):
        turn = _WORD.findall(str(message.get("content")).lower())
        quotable |= {tuple(turn[at : at + _QUOTED_WORDS]) for at in range(max(1, len(turn) - _QUOTED_WORDS + 1))}
    places = list(_WORD.finditer(plain))
    lower = [place[0].lower() for place in places]
    parts, copied = list[str](), 0
    for at in range(len(lower) - _QUOTED_WORDS + 1):
        if tuple(lower[at : at + _QUOTED_WORDS]) in quotable:
            parts += [plain[copied : places[at].start()], _QUOTED]
            copied = places[at + _QUOTED_WORDS - 1].end()
    return "".join((*parts, plain[copied:]))


def _unescaped(escape: re.Match[str]) -> str:
    return chr(int(escape[1], 16)) if escape[1] else " "


def says_itself(pattern: re.Pattern[str], words: str, body: Json) -> bool:
    """Whether the endpoint says it, in words that the request does not contain: an error may quote the row."""
    if pattern.search(words) is None:
        return False
    phrases = [match[0].lower() for match in pattern.finditer(_own_words(words, body))]
    request_text = " ".join(str(message.get("content")) for message in body.get("messages", ()) if phrases).lower()
    return any(phrase not in request_text for phrase in phrases)


def _begins_or_says(pattern: re.Pattern[str], message: str, words: str, body: Json) -> bool:
    """`says_itself`, or the error begins with it: those are the endpoint's own words, whatever the row contains."""
    return pattern.match(message) is not None or says_itself(pattern, words, body)


def refused_setting(error: Json, text: str, body: Json, *, answered: bool) -> str:
    """The setting of `body` that the endpoint does not accept, however it reports that; empty if it reports no such
    thing. Once the endpoint has answered, only its own error code is trusted: an error's text may quote the row."""
    settings, text = body.keys() - _NOT_SETTINGS, _own_words(text, body)
    code, param = str(error.get("code") or ""), str(error.get("param") or "").rpartition(".")[2]
    if param in settings and code.startswith(("unsupported", "unknown", "unrecognized")):
        return param
    if answered:
        return ""
    if param in settings:  # also for an invalid value (vLLM: "Input should be a valid integer")
        return param
    if not _UNSUPPORTED.search(text):
        request_text = str(body.get("messages")).lower()
        settings = (
            {name for name in settings if name.lower() not in request_text} if _INVALID_VALUE.search(text) else set()
        )
    mentions = [
        (match.start(), name)
        for name in settings
        # A long name may begin a sentence ("Logprobs is not enabled") or be spelt differently ("presencePenalty").
        for spelling in [re.escape(name).replace("_", "[_ ]?")]
        if (match := re.search(rf"(?<!\w){spelling}(?!\w)", text, re.IGNORECASE if len(name) > 4 else 0))
    ]
    return min(mentions)[1] if mentions else ""


class Target(NamedTuple):
    """Where a request was sent: what a user can correct."""

    url: str
    completions: str
    model: str
    key_env: str | None
    has_key: bool


def fatal_error(kind: Kind, setting: str, message: str, target: Target) -> TeacherError:
    """The error that ends a run because the problem concerns every row. `message` is the endpoint's message."""
    if kind == "key":
        return _wrong_key(message, target)
    if kind == "quota":
        return TeacherError(
            f"The account has no quota left ({message}).",
            where=target.url,
            fix="Every answer so far is kept. Add credit or wait until the quota is renewed, then run the same command "
            "again.",
        )
    if kind == "setting":
        fix = f'Remove it from the sampling table of pairsmith.toml, or write {setting} = "unset" there.'
        if setting not in Sampling.model_fields:  # the spec has no such key
            fix = f"Remove {setting} from extra in the sampling table of pairsmith.toml."
        return TeacherError(
            f"Model '{target.model}' does not accept the setting '{setting}' ({message}).",
            where=target.url,
            why="Every request would be refused.",
            fix=fix,
        )
    fix = (
        "Check teacher.url: it is the address before /chat/completions, to which /v1 is added if it has no version, or"
    )
    fix += " the complete one."
    if "It points to " in message:
        fix = "Redirects are not followed, since the key would go along: set teacher.url to the address it points to."
    return TeacherError(f"The endpoint answers {message}.".replace("..", "."), where=target.completions, fix=fix)


def is_elsewhere(location: str, url: str) -> bool:
    """Whether a redirect leads from `url` to another scheme, host or port, and not just to another path."""
    with suppress(ValueError):
        here, there = urlsplit(url), urlsplit(urljoin(url, location))
        return (here.scheme, here.netloc) != (there.scheme, there.netloc)
    return False


def _wrong_key(message: str, target: Target) -> AuthError:
    if not target.key_env:
        fix = "Name the environment variable that holds the key (teacher.key_env)."
    elif not target.has_key:
        fix = f"Set the environment variable {target.key_env} to the key."
    else:
        fix = f"Check the key in the environment variable {target.key_env}, and that it may use '{target.model}'."
    return AuthError(f"The endpoint refuses the key ({message}).", where=target.url, fix=fix)


def unknown_model(message: str, target: Target, served: Sequence[str]) -> TeacherError:
    """The error for a model that the endpoint does not serve, with a list of those that it does."""
    if served:
        fix = f"Set the teacher's model to one that it serves: {listed(served, 20)}."
    else:
        fix = f"Check the teacher's model and url: requests go to {target.completions}."
    return TeacherError(f"The endpoint does not know model '{target.model}' ({message}).", where=target.url, fix=fix)

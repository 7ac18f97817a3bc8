"""Finds the HTTP status that an error would have which a provider sends with HTTP 200."""

from __future__ import annotations

import re
from typing import Any

from schemas.records import Json
from synth.chat.error_words import error_body, is_error
from synth.chat.http_status import says_itself

# MiniMax's codes (platform.minimax.io/docs/api-reference/errorcode), which it sends with HTTP 200: limits per minute, a
# plan's hours or the balance, the key, a model that the plan lacks, and what concerns the request.
_MINIMAX_STATUS = {1002: 429, 1039: 429, 1041: 429, 2045: 429, 1008: 402, 2056: 402, 1004: 401, 2049: 401, 2061: 401}
_MINIMAX_STATUS |= dict.fromkeys((1026, 1027, 1042, 2013), 400)
# Baidu's codes (ai.baidu.com/ai-doc/WENXINWORKSHOP/tlmyncueh; its SDK's `APIErrorCode`), likewise with HTTP 200: of
# the access token (100: "Invalid parameter" of that name) or the permission; of a day or the account; of a model that
# does not exist. The rest of these ranges, except those that end in 00, concern the request.
_BAIDU_STATUS = {"6": 403, "17": 402, "18": 429, "19": 402, "3": 404, "336005": 404}
_BAIDU_STATUS |= dict.fromkeys(("13", "14", "100", "110", "111", "336004"), 401)
_BAIDU_OF_THE_REQUEST = re.compile(r"336[01](?!00)\d\d")
# iFlytek's codes (xfyun.cn/doc/spark/Web.html), in a body with a `sid`: limits per second, of a day, what the account
# may use, and what concerns the request.
_IFLYTEK_STATUS = {"10007": 429, "11202": 429, "11203": 429, "11201": 402, "10015": 401, "10016": 401, "11200": 401}
_IFLYTEK_STATUS |= dict.fromkeys(("10003", "10004", "10005", "10013", "10014", "10019", "10021", "10163", "10907"), 400)
# A row that contains the word alone is not quoted. LM Studio has the "unexpected endpoint".
_BY_WORD = tuple(
    (re.compile(rf"\b[\w ]{{0,30}}(?:{words})(?:[\w ]{{0,30}}\w)?", re.IGNORECASE), status)
    for words, status in (
        ("rate.?limit|too.many|overload|requests?.?limit", 429),
        ("authenti|unauthor|api.?key|login fail|auth.?fail|no.?auth|access.?token|credentials?", 401),
        ("quota|credit|balance|pack.?exhausted|余额|欠费", 402),
        ("sensitive", 400),
        ("unexpected endpoint", 405),
    )
)
_OF_THE_REQUEST = re.compile("invalid_(request|argument|messages)|bad_?request|content_(filter|policy)|_too_long")


def error_status(content: bytes, request: Json | None = None) -> int | None:
    """The HTTP status for an error inside a body of status 200 (OpenRouter, MiniMax, Baidu, Tencent, a gateway); words
    of the `request` do not count. None if there is no error, or if the body also holds an answer or tokens that were
    charged for."""
    if b'"choices"' in content and b'"error"' not in content and b'"base_resp"' not in content:
        return None
    body, error = error_body(content)
    usage, base = body.get("usage"), body.get("base_resp")
    paid = usage.get("completion_tokens") if isinstance(usage, dict) else usage
    minimax = base.get("status_code") if isinstance(base, dict) else None
    if not (is_error(body) or minimax) or paid:
        return None
    if minimax in _MINIMAX_STATUS and not any(map(_has_content, body.get("choices") or ())):
        return _MINIMAX_STATUS[minimax]
    if body.get("choices"):
        return None
    baidu, iflytek = str(body.get("error_code")), str(error.get("code")) if "sid" in body else ""
    if coded := _BAIDU_STATUS.get(baidu) or _IFLYTEK_STATUS.get(iflytek):
        return coded
    if _BAIDU_OF_THE_REQUEST.fullmatch(baidu):
        return 400
    words = [error.get(name) for name in ("code", "status", "type", "error_code", "Code", "message")]
    for word in words:
        if len(str(word)) == 3 and str(word).isdecimal() and 400 <= int(str(word)) < 600:
            return int(str(word))
    status = next((status for pattern, status in _BY_WORD if says_itself(pattern, str(words), request or {})), 502)
    return 400 if status == 502 and _OF_THE_REQUEST.search(str(words[:3]).lower()) else status


def _has_content(choice: Any) -> bool:
    message = choice.get("message") if isinstance(choice, dict) else None
    return isinstance(message, dict) and bool(message.get("content"))

"""Chinese providers as their public documentation describes them: data, like `documented`."""

from __future__ import annotations

from tests.synth.providers.played import Provider, Response, choice, completion, error, single

CUT = completion(choice("a dog on", finish="length"))
THOUGHT = "The user wants a longer text. I shall write one."


def minimax(code: int, message: str) -> Response:
    """MiniMax's error, which comes with HTTP 200 and a choice that is null."""
    return Response(200, {"choices": None, "base_resp": {"status_code": code, "status_msg": message}})


def baidu(code: str, message: str) -> Response:
    """Baidu's error as its page on limits shows it: with HTTP 200, and neither a choice nor an error object."""
    return Response(200, {"code": code, "msg": message})


CHINESE = (
    Provider(
        "Zhipu",
        "https://docs.bigmodel.cn/cn/api/api-code",
        {
            "wrong key": error(401, "身份验证失败", code="1000"),
            "no credit": error(429, "您的账户已欠费,请充值后重试", code="1113"),
            "plan used up": error(429, "已达到 5 小时的使用上限。您的限额将在 2026-12-01 02:00:00 重置", code="1308"),
            "rate limit": error(429, "您当前使用该 API 的并发数过高,请降低并发,或联系客服增加限额", code="1302"),
            "overloaded": error(429, "该模型当前访问量过大,请您稍后再试", code="1312"),
            "unknown model": error(400, "模型不存在,请检查模型代码。", code="1211"),
            "prompt refused": error(400, "系统检测到输入或生成内容可能包含不安全或敏感内容", code="1301"),
            "prompt too long": error(400, "Prompt 超长", code="1261"),
            "filtered answer": completion(choice("", finish="sensitive")),
            "broken off answer": completion(choice("a dog on", finish="network_error")),
            "thinking": completion(choice("a dog 0", reasoning_content=THOUGHT)),
            "cut answer": CUT,
            "cached tokens": completion(choice("a dog 0"), usage={"prompt_tokens_details": {"cached_tokens": 16}}),
        },
        path="/api/paas/v4",
        unauthorized=error(401, "Header 中未收到 Authentication 参数,无法进行身份验证", code="1001"),
        answer=single,
    ),
    Provider(
        "Baidu",
        "https://cloud.baidu.com/doc/WENXINWORKSHOP/s/cm79w0mjf",
        {
            "wrong key": error(401, "IAM Certification failed", code="invalid_iam_token", type="invalid_request_error"),
            "no credit": error(429, "Your account has insufficient balance", code="BILLING_INSUFFICIENT_BALANCE"),
            "plan used up": error(429, "Daily request quota per user exceeded", code="QUOTA_USER_DAILY_REQUEST"),
            "rate limit": baidu("rpm_rate_limit_exceeded", "Rate limit reached for RPM"),
            "prompt too long": error(400, "Prompt tokens too long", code="tokens_too_long"),
            "ends with eos": completion(choice("a dog 0", finish="normal")),
            "cut answer": CUT,
        },
        path="/v2",
        unauthorized=error(401, "IAM Certification failed", code="invalid_iam_token", type="invalid_request_error"),
        answer=single,
    ),
    Provider(
        "Alibaba Model Studio",
        "https://help.aliyun.com/en/model-studio/error-code",
        {
            "wrong key": error(401, "Incorrect API key provided.", code="invalid_api_key"),
            "no credit": error(
                400, "Access denied, please make sure your account is in good standing.", code="Arrearage"
            ),
            "plan used up": error(
                403, "The free tier of the model has been exhausted.", code="AllocationQuota.FreeTierOnly"
            ),
            "rate limit": error(  # of tokens per minute, whatever it says
                429,
                "You exceeded your current quota. Read https://help.aliyun.com/en/model-studio/error-code",
                code="insufficient_quota",
            ),
            "overloaded": error(429, "Request rate increased too quickly.", code="limit_burst_rate"),
            "unknown model": error(404, "The model `x` does not exist.", code="model_not_found"),
            "prompt refused": error(
                400, "Input data may contain inappropriate content.", code="data_inspection_failed"
            ),
            "prompt too long": error(400, "Range of input length should be [1, 30720]", code="invalid_parameter_error"),
            "thinking": completion(choice("a dog 0", reasoning_content=THOUGHT)),
            "cut answer": CUT,
        },
        path="/compatible-mode/v1",
        unauthorized=error(401, "You didn't provide an API key.", code="invalid_api_key"),
    ),
    Provider(
        "MiniMax",
        "https://platform.minimax.io/docs/api-reference/errorcode",
        {
            "wrong key": minimax(1004, "login fail: please carry the API secret key"),
            "no credit": minimax(1008, "insufficient balance"),
            "plan used up": minimax(2056, "usage limit exceeded (5-hour usage limit reached)"),
            "rate limit": minimax(1002, "rate limit"),
            "overloaded": minimax(1041, "conn limit"),
            "prompt refused": minimax(1026, "input new_sensitive"),
            "thinking": completion(choice(f"<think>\n{THOUGHT}\n</think>\n\na dog 0"), input_sensitive=False),
            "cut answer": CUT,
        },
        unauthorized=minimax(1004, "login fail: please carry the API secret key"),
        models=(),
        lists=lambda self: {"message": "Not Found"},
        answer=single,
    ),
)

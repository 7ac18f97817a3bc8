"""Clouds and hosts of open models as their public documentation describes them: data, like `documented`."""

from __future__ import annotations

import orjson

from tests.synth.providers.played import Provider, Response, choice, completion, error, single

CUT = completion(choice("a dog on", finish="length"))
THOUGHT = "The user wants a longer text. I shall write one."


def plain(status: int, message: str, **more: object) -> Response:
    """An error whose whole body is its message."""
    return Response(status, {"message": message, **more})


def xai(status: int, code: str, message: str) -> Response:
    """xAI's error: two strings."""
    return Response(status, {"code": code, "error": message})


def cloudflare(status: int, code: int, message: str) -> Response:
    """Cloudflare's envelope with a list of errors."""
    return Response(
        status, {"success": False, "errors": [{"code": code, "message": message}], "messages": [], "result": None}
    )


def problem(status: int, title: str, detail: str) -> Response:
    """An RFC 9457 problem as NVIDIA's gateway sends it."""
    return Response(status, {"status": status, "title": title, "detail": detail})


def google(status: int, word: str, message: str) -> Response:
    """Google's error object in a list."""
    return Response(status, [{"error": {"code": status, "message": message, "status": word}}])


def tgi(status: int, message: str, kind: str) -> Response:
    """Text Generation Inference's error: a message and a type."""
    return Response(status, {"error": message, "error_type": kind})


def watsonx(status: int, code: str, message: str) -> Response:
    """watsonx's list of errors."""
    return Response(status, {"errors": [{"code": code, "message": message}], "trace": "1", "status_code": status})


INVALID = "Client specified an invalid argument"
NOT_PERMITTED = "The caller does not have permission to execute the specified operation"
EXTRA = [{"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": "Extra inputs are not permitted", "input": 5}]
BEHIND = {"external_model_provider": "p", "external_model_error": {"message": "top_k: Extra inputs are not permitted"}}
REASONED = choice(None) | {
    "message": {
        "role": "assistant",
        "content": [
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": THOUGHT}]},
            {"type": "text", "text": "a dog 0"},
        ],
    }
}
NO_LIST = {"message": "Not Found"}

HOSTED = (
    Provider(
        "xAI",
        "https://docs.x.ai/developers/debugging",
        {
            "wrong key": xai(400, INVALID, "Incorrect API key provided: xa***ok. You can obtain one from the console."),
            "no credit": xai(
                429,
                "Some resource has been exhausted",
                "Your team t has either used all available credits or reached its monthly spending limit.",
            ),
            "rate limit": xai(429, "Some resource has been exhausted", "Your team has reached its current rate limit."),
            "unknown model": xai(404, "Some requested entity was not found", "The model x does not exist."),
            "unknown setting": xai(400, INVALID, "Argument not supported on this model: topK"),
            "prompt refused": xai(
                403, NOT_PERMITTED, "Content violates usage guidelines. Team: t, API key ID: k, Failed check: SAFETY"
            ),
            "prompt too long": xai(400, INVALID, "This model's maximum prompt length is 131072 tokens."),
            "thinking": completion(choice("a dog 0", reasoning_content=THOUGHT)),
            "cut answer": CUT,
        },
        unauthorized=xai(400, INVALID, "Incorrect API key provided: xa***ok."),
    ),
    Provider(
        "Cohere, compatible",
        "https://docs.cohere.com/docs/compatibility-api",
        {
            "wrong key": plain(401, "invalid api token"),
            "no credit": plain(402, "Please add or update your payment method to continue"),
            "rate limit": plain(429, "You are past the per minute request limit, please wait and try again later."),
            "unknown model": plain(404, "model 'x' not found, make sure the correct model ID was used"),
            "unknown setting": plain(422, "unknown field: parameter 'top_k' is not a valid field"),
            "prompt refused": plain(498, "blocked input"),
            "prompt too long": plain(400, "too many tokens: size limit exceeded by 20000 tokens."),
            "cut answer": completion(choice("a dog on", finish="MAX_TOKENS")),
        },
        path="/compatibility/v1",
        unauthorized=plain(401, "no api key supplied"),
        answer=single,
    ),
    Provider(
        "Moonshot",
        "https://platform.kimi.ai/docs/api/errors",
        {
            "wrong key": error(401, "Invalid Authentication", type="invalid_authentication_error"),
            "no credit": error(
                429,
                "Your account is suspended due to insufficient balance, please recharge your account",
                type="exceeded_current_quota_error",
            ),
            "rate limit": error(
                429,
                "Your account reached max request: 3, please try again after 0.02 seconds",
                type="rate_limit_reached_error",
            ),
            "overloaded": error(
                429, "The engine is currently overloaded, please try again later", type="engine_overloaded_error"
            ),
            "unknown model": error(404, "Not found the model x or Permission denied", type="resource_not_found_error"),
            "unknown setting": error(
                400, "invalid top_k: only 1 is allowed for this model", type="invalid_request_error"
            ),
            "prompt refused": error(
                400, "The request was rejected because it was considered high risk", type="content_filter"
            ),
            "prompt too long": error(
                400,
                "Invalid request: Your request exceeded model token limit: 262144 (requested: 269030)",
                type="invalid_request_error",
            ),
            "thinking": completion(choice("a dog 0", reasoning_content=THOUGHT)),
            "cut answer": CUT,
            "cached tokens": completion(choice("a dog 0"), usage={"cached_tokens": 16}),
        },
        unauthorized=error(401, "Invalid Authentication", type="invalid_authentication_error"),
    ),
    Provider(
        "GitHub Models",
        "https://docs.github.com/en/rest/models/inference",
        {
            "wrong key": error(401, "Bad credentials", code="unauthorized"),
            "rate limit": error(
                429,
                "Rate limit of 15 per 60s exceeded for UserByModelByMinute. Please wait 0.02 seconds before retrying.",
                code="RateLimitReached",
            ),
            "unknown model": error(400, "Unknown model: x", code="unknown_model"),
            "prompt refused": error(400, "The response was filtered", code="content_filter", param="prompt"),
            "prompt too long": error(
                413, "Request body too large for gpt-4o model. Max size: 8000 tokens.", code="tokens_limit_reached"
            ),
            "cut answer": CUT,
        },
        path="/inference/chat/completions",
        unauthorized=error(401, "Bad credentials", code="unauthorized"),
    ),
    Provider(
        "Fireworks",
        "https://docs.fireworks.ai/guides/inference-error-codes",
        {
            "wrong key": error(401, "The API key you provided is invalid.", code="UNAUTHORIZED"),
            "no credit": error(
                412,
                "Account a is suspended, possibly due to reaching the monthly spending limit or unpaid invoices.",
                code="ACCOUNT_SUSPENDED",
            ),
            "rate limit": error(429, "Rate limit exceeded, please try again later", code="RATE_LIMIT_EXCEEDED"),
            "overloaded": error(503, "The service is temporarily overloaded"),
            "unknown model": error(404, "Model not found, inaccessible, and/or not deployed", code="NOT_FOUND"),
            "unknown setting": error(400, "Extra inputs are not permitted, field: 'top_k', value: 5"),
            "prompt too long": error(400, "The prompt is too long: 140000, model maximum context length: 131071"),
            "thinking": completion(choice("a dog 0", reasoning_content=THOUGHT)),
            "cut answer": CUT,
        },
        path="/inference/v1",
        unauthorized=error(401, "The API key you provided is invalid.", code="UNAUTHORIZED"),
    ),
    Provider(
        "Cloudflare Workers AI",
        "https://developers.cloudflare.com/workers-ai/platform/errors/",
        {
            "wrong key": cloudflare(401, 10000, "Authentication error"),
            "no credit": cloudflare(
                429,
                3036,
                "You have used up your daily free allocation of 10,000 neurons. Please upgrade.",
            ),
            "overloaded": cloudflare(429, 3040, "No more data centers to forward the request to"),
            "prompt refused": Response(  # by a guardrail of its AI Gateway
                424,
                {
                    "success": False,
                    "error": [{"code": 2016, "message": "Prompt blocked due to security configurations"}],
                },
            ),
            "prompt too long": cloudflare(413, 3006, "Request is too large"),
            "cut answer": CUT,
        },
        path="/client/v4/accounts/0a1b/ai/v1",
        models=(),
        unauthorized=cloudflare(401, 10000, "Authentication error"),
        lists=lambda self: NO_LIST,
        answer=single,
    ),
    Provider(
        "Databricks",
        "https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/api-reference",
        {
            "wrong key": plain(403, "Invalid access token.", error_code=403),
            "rate limit": plain(
                429,
                "REQUEST_LIMIT_EXCEEDED: Exceeded workspace output tokens per minute rate limit for model-1.",
                error_code="REQUEST_LIMIT_EXCEEDED",
            ),
            "overloaded": plain(503, "The endpoint is scaling up", error_code="TEMPORARILY_UNAVAILABLE"),
            "unknown setting": plain(400, orjson.dumps(BEHIND).decode(), error_code="BAD_REQUEST"),
            "prompt too long": plain(400, "The input exceeds the model's context length", error_code="BAD_REQUEST"),
            "thinking": completion(REASONED),
            "cut answer": CUT,
        },
        path="/serving-endpoints/chat/completions",
        models=(),
        unauthorized=plain(401, "Credential was not sent or was of an unsupported type for this API.", error_code=401),
        lists=lambda self: NO_LIST,
    ),
    Provider(
        "NVIDIA NIM",
        "https://docs.api.nvidia.com/nim/reference/llm-apis",
        {
            "wrong key": problem(403, "Forbidden", "Authorization failed"),
            "no credit": problem(402, "Payment Required", "Account 'a': Cloud credits expired"),
            "rate limit": problem(429, "Too Many Requests", "Too Many Requests"),
            "overloaded": problem(500, "Internal Server Error", "Inference connection error"),
            "unknown model": problem(404, "Not Found", "Function 'f': Not found for account 'a'"),
            "unknown setting": Response(422, {"detail": EXTRA}),
            "thinking": completion(choice("a dog 0", reasoning_content=THOUGHT)),
            "cut answer": CUT,
        },
        unauthorized=problem(401, "Unauthorized", "Authentication failed"),
        answer=single,
    ),
    Provider(
        "Hugging Face router",
        "https://huggingface.co/docs/inference-providers/tasks/chat-completion",
        {
            "wrong key": Response(401, {"error": "Invalid username or password."}),
            "no credit": Response(402, {"error": "You have exceeded your monthly included credits."}),
            "unknown model": error(
                400,
                "The requested model 'x' does not exist",
                code="model_not_found",
                param="model",
                type="invalid_request",
            ),
            "rate limit": Response(429, {"error": "Too many requests"}),
            "overloaded": Response(503, {"error": "Model model-1 is currently loading", "estimated_time": 20.0}),
            "cut answer": CUT,
        },
        unauthorized=Response(401, {"error": "Invalid username or password."}),
    ),
    Provider(
        "Text Generation Inference",
        "https://huggingface.co/docs/text-generation-inference/messages_api",
        {
            "overloaded": tgi(429, "Model is overloaded", "overloaded"),
            "unknown setting": tgi(422, "Input validation error: `top_k` must be strictly positive", "validation"),
            "prompt too long": tgi(
                422, "Input validation error: `inputs` must have less than 4096 tokens. Given: 5000", "validation"
            ),
            "ends with eos": completion(choice("a dog 0", finish="eos_token")),
            "cut answer": CUT,
        },
        key_header=None,
        answer=single,
    ),
    Provider(
        "Vertex AI, compatible",
        "https://cloud.google.com/vertex-ai/generative-ai/docs/start/openai",
        {
            "wrong key": google(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
            "rate limit": google(429, "RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later."),
            "overloaded": google(503, "UNAVAILABLE", "The service is currently unavailable."),
            "unknown setting": google(400, "INVALID_ARGUMENT", 'Unknown name "top_k": Cannot find field.'),
            "filtered answer": completion({"index": 0, "finish_reason": "content_filter"}),
            "cut answer": CUT,
        },
        path="/v1/projects/p/locations/global/endpoints/openapi",
        models=(),
        unauthorized=google(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."),
        lists=lambda self: NO_LIST,
    ),
    Provider(
        "Cerebras",
        "https://inference-docs.cerebras.ai/support/error",
        {
            "wrong key": plain(401, "Wrong API Key", type="invalid_request_error", code="wrong_api_key"),
            "no credit": plain(402, "Payment required to access this resource.", code="payment_required"),
            "plan used up": plain(429, "Tokens per day limit exceeded.", param="quota", code="token_quota_exceeded"),
            "rate limit": plain(429, "Tokens per minute limit exceeded.", param="quota", code="token_quota_exceeded"),
            "overloaded": plain(429, "We're experiencing high traffic right now!", code="queue_exceeded"),
            "unknown model": plain(404, "Model x does not exist", param="model", code="model_not_found"),
            "thinking": completion(choice("a dog 0", reasoning=THOUGHT)),
            "cut answer": CUT,
        },
        unauthorized=plain(401, "Wrong API Key", type="invalid_request_error", code="wrong_api_key"),
        answer=single,
    ),
    Provider(
        "SambaNova",
        "https://docs.sambanova.ai/docs/en/api-reference/using-the-api/api-error-codes",
        {
            "wrong key": error(401, "Invalid API key", code="invalid_api_key"),
            "rate limit": error(429, "Rate limit exceeded", code="rate_limit_exceeded"),
            "overloaded": error(504, "The request was rejected because the queue is full"),
            "unknown model": error(410, "The requested model is no longer available"),
            "unknown setting": error(
                400, "Integer below minimum value.", param="top_k", code="integer_below_min_value"
            ),
            "prompt too long": error(400, "The input is too long", code="context_length_exceeded"),
            "cut answer": CUT,
        },
        answer=single,
    ),
    Provider(
        "IBM watsonx",
        "https://cloud.ibm.com/apidocs/watsonx-ai",
        {
            "wrong key": watsonx(401, "authentication_token_expired", "The token has expired"),
            "plan used up": watsonx(403, "token_quota_reached", "You have reached the token quota for this month"),
            "rate limit": watsonx(429, "rate_limit_reached_requests", "Failed to generate text due to rate limit"),
            "unknown model": watsonx(404, "model_not_supported", "Model 'x' is not supported for this environment."),
            "prompt too long": watsonx(400, "invalid_input_argument", "the number of input tokens cannot exceed 8192"),
            "cut answer": completion(choice("a dog on", finish="max_tokens")),
        },
        unauthorized=watsonx(401, "authentication_token_not_valid", "Failed to authenticate the request"),
        path="/ml/gateway/v1",
        answer=single,
    ),
    Provider(
        "Vercel AI Gateway",
        "https://vercel.com/docs/ai-gateway/faq",
        {
            "wrong key": error(401, "Invalid API key", type="authentication_error"),
            "no credit": error(403, "A valid credit card is required.", type="customer_verification_required"),
            "rate limit": error(429, "Free credits temporarily have rate limits.", type="rate_limit_exceeded"),
            "unknown model": error(404, "Model 'x' not found", type="model_not_found"),
            "cut answer": CUT,
        },
    ),
)

"""What the public documentation of each provider says it does, as data.

Error messages are examples of the documented format, not copies of a page.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.synth.providers.chinese import CHINESE
from tests.synth.providers.hosted import HOSTED
from tests.synth.providers.played import (
    Body,
    Provider,
    Response,
    choice,
    completion,
    error,
    several,
    single,
    text_of,
)

THOUGHT = "The user wants a longer text. I shall write one."


def unsupported(*names: str) -> Callable[[Body], Response | None]:
    """OpenAI's reasoning models: another name for the token limit, and no sampling settings except the defaults."""

    def refuses(body: Body) -> Response | None:
        if "max_tokens" in body:
            text = "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens'."
            return error(400, text, code="unsupported_parameter", param="max_tokens", type="invalid_request_error")
        for name in names:
            if body.get(name, 1) != 1:
                text = f"Unsupported value: '{name}' does not support {body[name]} with this model."
                return error(400, text, code="unsupported_value", param=name, type="invalid_request_error")
        return None

    return refuses


def one_only(status: int, message: str) -> Callable[[Body], Response | None]:
    """A provider that rejects n above 1."""
    return lambda body: error(status, message, type="invalid_request_error") if body.get("n", 1) > 1 else None


def reasoned(name: str, text: str | None = "a dog 0", finish: str = "stop", reasoning_tokens: int = 12) -> Response:
    """An answer whose reasoning is in a separate field."""
    details = {"completion_tokens_details": {"reasoning_tokens": reasoning_tokens}}
    return completion(choice(text, finish=finish, **{name: THOUGHT}), model="model-1", usage=details)


def gemini_error(status: int, word: str, message: str, **more: object) -> Response:
    """Google's error object, which its OpenAI-compatible endpoint puts into a list."""
    return Response(status, [{"error": {"code": status, "message": message, "status": word, **more}}])


def mistral_error(status: int, message: str, kind: str, code: str | None = None) -> Response:
    """Mistral's error, which is the whole body."""
    return Response(status, {"object": "error", "message": message, "type": kind, "param": None, "code": code})


def litellm_error(status: int, message: str) -> Response:
    """LiteLLM's error: the message of the provider behind it, between the kind of error and a note."""
    note = "\n\nLiteLLM: model group 'model-1' failed with the error above. No fallback was attempted."
    return error(status, message + note, type="None", param=None, code=str(status))


def native(word: str) -> Body:
    """The provider's own finish reason, where LiteLLM reports another one ("stop" if it does not know it)."""
    return {"provider_specific_fields": {"native_finish_reason": word}}


TEMPLATE = (
    "\n------------\nWhile executing CallExpression at line 1, column 67 in source:\n"
    "..._exception('System role not...\n"
    "^\nError: Jinja Exception: System role not supported"
)
TOO_LARGE = (
    "Request too large for model-1 on tokens per min (TPM): Limit 30000, Requested 342389. "
    "The input or output tokens must be reduced in order to run successfully."
)
NO_CHOICE: Body = {"usage": {"prompt_tokens": 12, "completion_tokens": 0, "total_tokens": 12}}
CUT = completion(choice("a dog on", finish="length"))
FILTERED = completion(choice("", finish="content_filter"))
TINY = completion(choice(None, finish="length", reasoning_content=THOUGHT), usage={"completion_tokens": 64})

OPENAI_LIMITS = {
    "no credit": error(429, "You exceeded your current quota.", code="insufficient_quota", type="insufficient_quota"),
    "rate limit": error(429, "Rate limit reached for requests", {"retry-after-ms": "20"}, code="rate_limit_exceeded"),
    "overloaded": error(503, "The engine is currently overloaded, please try again later", type="server_error"),
}
OPENAI_TOO_LONG = error(
    400, "This model's maximum context length is 128000 tokens.", code="context_length_exceeded", param="messages"
)

PROVIDERS = (
    Provider(
        "OpenAI",
        "https://platform.openai.com/docs/guides/error-codes",
        {
            **OPENAI_LIMITS,
            "wrong key": error(401, "Incorrect API key provided", code="invalid_api_key"),
            "unknown model": error(
                404, "The model `x` does not exist or you do not have access", code="model_not_found"
            ),
            "unknown setting": error(
                400, "Unrecognized request argument supplied: top_k", type="invalid_request_error"
            ),
            "prompt too long": OPENAI_TOO_LONG,
            "more tokens than a minute allows": error(429, TOO_LARGE, type="tokens", code="rate_limit_exceeded"),
            "refused answer": completion(choice(None, refusal="I cannot help with that.")),
            "filtered answer": FILTERED,
            "cut answer": CUT,
        },
    ),
    Provider(
        "OpenAI, reasoning",
        "https://platform.openai.com/docs/guides/reasoning",
        {
            "wrong key": error(401, "Incorrect API key provided", code="invalid_api_key"),
            "unknown setting": error(
                400,
                "Unknown parameter: 'top_k'.",
                code="unknown_parameter",
                param="top_k",
                type="invalid_request_error",
            ),
            "thinking": completion(
                choice("a dog 0"), usage={"completion_tokens_details": {"reasoning_tokens": 512}}, model="model-1"
            ),
            "only thinking": completion(
                choice("", finish="length"), usage={"completion_tokens_details": {"reasoning_tokens": 64}}
            ),
            "prompt refused": error(
                400, "Invalid prompt: it was flagged as violating our policy", code="invalid_prompt"
            ),
        },
        sampling={"max_tokens": 64},
        refuses=unsupported("temperature", "top_p"),
    ),
    Provider(
        "Azure, /openai/v1",
        "https://learn.microsoft.com/azure/ai-foundry/openai/api-version-lifecycle",
        {
            "wrong key": error(401, "Access denied due to invalid subscription key or wrong API endpoint.", code="401"),
            "rate limit": error(
                429, "Requests have exceeded the call rate limit.", {"Retry-After": "0.02"}, code="429"
            ),
            "prompt refused": error(
                400,
                "The response was filtered due to the prompt triggering the content management policy.",
                code="content_filter",
                param="prompt",
                innererror={"code": "ResponsibleAIPolicyViolation"},
            ),
            "filtered answer": completion({"index": 0, "finish_reason": "content_filter"}),
            "annotated": completion(  # the content filter itself failed
                choice("a dog 0") | {"content_filter_results": {"error": {"code": "content_filter_error"}}},
                prompt_filter_results=[{"prompt_index": 0, "content_filter_results": {"hate": {"filtered": False}}}],
            ),
            "unknown model": error(
                404, "The API deployment for this resource does not exist.", code="DeploymentNotFound"
            ),
            "cut answer": CUT,
        },
        path="/openai/v1",
        key_header="api-key",
        teacher={"headers_env": {"api-key": "CONFORMANCE_KEY"}},
        unauthorized=error(401, "Access denied due to invalid subscription key.", code="401"),
    ),
    Provider(
        "Azure, deployments",
        "https://learn.microsoft.com/azure/ai-foundry/openai/reference",
        {
            "wrong key": error(401, "Access denied due to invalid subscription key or wrong API endpoint.", code="401"),
            "rate limit": error(
                429, "Requests have exceeded the token rate limit.", {"Retry-After": "0.02"}, code="429"
            ),
            "prompt refused": error(400, "The response was filtered", code="content_filter", param="prompt"),
            "cut answer": CUT,
        },
        path="/openai/deployments/mine/chat/completions?api-version=2024-10-21",
        key_header="api-key",
        teacher={"headers_env": {"api-key": "CONFORMANCE_KEY"}},
        unauthorized=error(401, "Access denied due to invalid subscription key.", code="401"),
        models=(),
        lists=lambda self: {"error": {"code": "404", "message": "Resource not found"}},
    ),
    Provider(
        "vLLM",
        "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html",
        {
            "no system role": error(400, "System role not supported", type="BadRequestError", code=400),
            "unknown model": error(404, "The model `x` does not exist.", type="NotFoundError", param="model", code=404),
            "unknown setting": error(  # it ignores an unknown setting; this is its error for an invalid value
                400,
                "1 validation error: {'loc': 'body.top_k', 'msg': 'Input should be a valid integer'}",
                type="Bad Request",
                param="body.top_k",
                code=400,
            ),
            "wrong key": Response(401, {"error": "Unauthorized"}),
            "prompt too long": error(
                400,
                "This model's maximum context length is 4096 tokens. However, your prompt contains at least 4097 input"
                " tokens, which exceeds this limit even without any output tokens. (parameter=input_tokens)",
                type="BadRequestError",
                param="input_tokens",
                code=400,
            ),
            "thinking": reasoned("reasoning"),
            "only thinking": TINY,
            "cut answer": CUT,
            "broken off answer": completion(choice("a dog on", finish="abort")),
            "overloaded": Response(503, b""),
            "schema": completion(choice('{"caption": "a dog"}')),
        },
        key_header=None,
        lists=lambda self: {"data": [{"id": name, "max_model_len": 4096} for name in self.models]},
    ),
    Provider(
        "SGLang",
        "https://docs.sglang.io/docs/basic_usage/openai_api_completions",
        {
            "wrong key": Response(401, {"error": "Unauthorized"}),
            "overloaded": Response(
                503, {"object": "error", "message": "The request queue is full.", "type": "503", "code": 503}
            ),
            "unknown setting": Response(  # an invalid value; it ignores an unknown setting
                400,
                {
                    "object": "error",
                    "message": "top_k must be -1 or at least 1, got 0.",
                    "type": "BadRequest",
                    "code": 400,
                },
            ),
            "no system role": Response(500, {"object": "error", "message": "System role not supported", "code": 500}),
            "prompt too long": Response(
                400,
                {
                    "object": "error",
                    "message": "The input (5000 tokens) is longer than the model's context length.",
                    "code": 400,
                },
            ),
            "thinking": reasoned("reasoning_content"),
            "only thinking": TINY,
            "cut answer": completion(choice("a dog on", finish="length", matched_stop=None)),
            "broken off answer": completion(
                {**choice("a dog on"), "matched_stop": "NaN happened"}
            ),  # reported as a stop
            "schema": completion(choice('{"caption": "a dog"}')),
        },
        key_header=None,
    ),
    Provider(
        "Ollama",
        "https://docs.ollama.com/api/openai-compatibility",
        {
            "unknown model": error(404, 'model "x" not found, try pulling it first', type="api_error"),
            "thinking": reasoned("reasoning"),
            "only thinking": completion(choice("", finish="length", reasoning=THOUGHT)),
            "cut answer": CUT,
            "overloaded": error(503, "server busy, please try again. maximum pending requests exceeded"),
            "prompt truncated": completion(choice("a dog 0"), usage={"prompt_tokens": 4096}),
            "schema": completion(choice('```json\n{"caption": "a dog"}\n```')),
        },
        model="qwen3:8b",
        models=("qwen3:8b", "nomic-embed-text:latest"),
        key_header=None,
        answer=single,
    ),
    Provider(
        "llama-server",
        "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md",
        {
            "no system role": error(500, TEMPLATE, type="server_error", code=500),
            "wrong key": error(401, "Invalid API Key", type="authentication_error", code=401),
            "overloaded": error(503, "Loading model", type="unavailable_error", code=503),
            "prompt too long": error(
                400,
                "request (5000 tokens) exceeds the available context size (4096 tokens), try increasing it",
                type="exceed_context_size_error",
                code=400,
                n_prompt_tokens=5000,
                n_ctx=4096,
            ),
            "context full": error(500, "context shift is disabled", type="server_error", code=500),
            "thinking": reasoned("reasoning_content"),
            "cut answer": CUT,
            "schema": completion(choice('{"caption": "a dog"}')),
        },
        unauthorized=error(401, "Invalid API Key", type="authentication_error", code=401),
        refuses=one_only(400, "n_cmpl cannot be greater than the number of slots, please increase -np"),
        answer=single,
        lists=lambda self: {"data": [{"id": name, "meta": {"n_ctx": 4096}} for name in self.models]},
    ),
    Provider(
        "llama-cpp-python",  # version 0.3.36 was run
        "https://llama-cpp-python.readthedocs.io/en/latest/server/",
        {
            "unknown setting": error(  # an invalid value; it ignores an unknown setting
                500,
                "1 validation error:\n  {'type': 'int_parsing', 'loc': ('body', 'top_k'), 'msg': 'Input should be a"
                " valid integer, unable to parse string as an integer', 'input': 'x'}\n\n  File \"app.py\", line 376",
                type="internal_server_error",
            ),
            "schema unsupported": error(
                500,
                "1 validation error:\n  {'type': 'literal_error', 'loc': ('body', 'response_format', 'type'), 'msg': "
                "\"Input should be 'text' or 'json_object'\", 'input': 'json_schema'}\n\n  File \"app.py\", line 376",
                type="internal_server_error",
            ),
            "prompt too long": error(
                400,
                "This model's maximum context length is 512 tokens. However, you requested 3036 tokens.",
                type="invalid_request_error",
                param="messages",
                code="context_length_exceeded",
            ),
            "cut answer": CUT,
        },
        key_header=None,
        answer=single,
    ),
    Provider(
        "LM Studio",
        "https://lmstudio.ai/docs/developer/openai-compat",
        {
            "prompt too long": Response(
                400,
                {"error": "The number of tokens to keep from the initial prompt is greater than the context length."},
            ),
            "wrong key": error(401, "Malformed LM Studio API token provided", code="invalid_api_key"),
            "unknown model": error(404, "Model x not found", type="invalid_request_error", code="model_not_found"),
            "model unloaded": Response(400, {"error": "Model unloaded."}),
            "thinking": reasoned("reasoning_content"),
            "cut answer": CUT,
            "schema": completion(choice('{"caption": "a dog"}')),
        },
        key_header=None,
        models=("model-1", "text-embedding-nomic-embed-text-v1.5"),
        answer=single,
    ),
    Provider(
        "OpenRouter",
        "https://openrouter.ai/docs/api/reference/errors-and-debugging",
        {
            "wrong key": error(401, "User not found.", code=401),
            "no credit": error(402, "This request requires more credits, or fewer max_tokens.", code=402),
            "rate limit": error(429, "Rate limit exceeded", {"Retry-After": "0.02"}, code=429),
            "error inside a 200": Response(
                200, {"error": {"code": 502, "message": "Provider returned error"}, "user_id": "u"}
            ),
            "broken off answer": completion(
                {**choice("a dog on", finish="error"), "error": {"code": 502, "message": "Upstream disconnected"}}
            ),
            "broken off stream": Response(
                200,
                b': OPENROUTER PROCESSING\n\ndata: {"choices":[{"index":0,"delta":{"content":"a dog on"}}]}\n\n'
                b'data: {"error":{"code":"server_error","message":"Provider disconnected unexpectedly"},'
                b'"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}\n\n',
            ),
            "prompt refused": error(
                403,
                "Your chosen model requires moderation and your input was flagged",
                code=403,
                metadata={"reasons": ["violence"], "flagged_input": "a dog", "provider_name": "OpenAI"},
            ),
            "unknown model": error(400, "x/y is not a valid model ID", code=400),
            "thinking": reasoned("reasoning"),
            "cut answer": completion({**choice("a dog on", finish="length"), "native_finish_reason": "max_tokens"}),
            "real cost": completion(
                choice("a dog 0"),
                id="gen-1",
                model="maker/model-1-2026",
                provider="Someone",
                usage={"cost": 0.00042, "completion_tokens_details": {"reasoning_tokens": 3}},
            ),
        },
        path="/api/v1",
        unauthorized=error(401, "No auth credentials found", code=401),
        answer=single,
        teacher={"headers": {"HTTP-Referer": "https://example.org", "X-Title": "captions"}},
    ),
    Provider(
        "Anthropic, compatible",
        "https://platform.claude.com/docs/en/api/openai-sdk",
        {
            "wrong key": error(401, "invalid x-api-key", type="authentication_error"),
            "no credit": error(
                400, "Your credit balance is too low to access the Anthropic API.", type="invalid_request_error"
            ),
            "plan used up": error(
                429, "Paused.", type="rate_limit_error", details={"error_code": "enforced_spend_limit_reached"}
            ),
            "rate limit": error(
                429, "This request would exceed your rate limit", {"retry-after": "0.02"}, type="rate_limit_error"
            ),
            "overloaded": error(529, "Overloaded", type="overloaded_error"),
            "unknown model": error(404, "model: x", type="not_found_error"),
            "unknown setting": error(400, "`top_k` is deprecated for this model.", type="invalid_request_error"),
            "prompt too long": error(
                400, "prompt is too long: 210000 tokens > 200000 maximum", type="invalid_request_error"
            ),
            "cut answer": CUT,
            "schema": completion(choice('```json\n{"caption": "a dog"}\n```')),
        },
        unauthorized=error(401, "invalid x-api-key", type="authentication_error"),
        refuses=one_only(400, "n: must be 1"),
        answer=single,
        teacher={"headers": {"anthropic-workspace-id": "wrkspc_1"}},
    ),
    Provider(
        "Gemini, compatible",
        "https://ai.google.dev/gemini-api/docs/openai",
        {
            "no system role": gemini_error(
                400, "INVALID_ARGUMENT", "Developer instruction is not enabled for models/gemma-3-27b-it"
            ),
            "wrong key": gemini_error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
            "no credit": gemini_error(402, "RESOURCE_EXHAUSTED", "Your prepaid credit balance is used up."),
            "rate limit": gemini_error(
                429, "RESOURCE_EXHAUSTED", "You exceeded your current quota. Please retry in 0.02s."
            ),
            "overloaded": gemini_error(503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
            "unknown model": gemini_error(404, "NOT_FOUND", "models/x is not found for API version v1main."),
            "unknown setting": gemini_error(
                400, "INVALID_ARGUMENT", 'Invalid JSON payload received. Unknown name "top_k": Cannot find field.'
            ),
            "only thinking": completion({"index": 0, "finish_reason": "length", "message": {"role": "assistant"}}),
            "filtered answer": completion(
                {"index": 0, "finish_reason": "content_filter", "message": {"role": "assistant"}}
            ),
            "no choice": Response(200, {"object": "chat.completion", **NO_CHOICE}),
            "cut answer": completion(choice("a dog on", finish="MAX_TOKENS")),
        },
        path="/v1beta/openai",
        unauthorized=gemini_error(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
        lists=lambda self: {"data": [{"id": f"models/{name}"} for name in self.models]},
    ),
    Provider(
        "Mistral",
        "https://docs.mistral.ai/api/",
        {
            "wrong key": Response(401, {"message": "Unauthorized", "request_id": "1"}),
            "no credit": mistral_error(402, "Payment required", "payment_required"),
            "rate limit": Response(429, {"message": "Requests rate limit exceeded"}),
            "overloaded": mistral_error(
                429, "Service tier capacity exceeded for this model.", "service_tier_capacity_exceeded", "3505"
            ),
            "prompt too long": mistral_error(
                400, "Prompt contains 40235 tokens, too large for model with 32768 maximum context length", "x", "3051"
            ),
            "unknown model": mistral_error(400, "Invalid model: x", "invalid_model", "1500"),
            "unknown setting": Response(
                422,
                {
                    "object": "error",
                    "message": {
                        "detail": [
                            {
                                "type": "extra_forbidden",
                                "loc": ["body", "top_k"],
                                "msg": "Extra inputs are not permitted",
                            }
                        ]
                    },
                    "type": "invalid_request_error",
                },
            ),
            "thinking": completion(
                choice(None)
                | {
                    "message": {
                        "role": "assistant",
                        "content": [
                            {"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]},
                            {"type": "text", "text": "a dog 0"},
                        ],
                    }
                }
            ),
            "cut answer": completion(choice("a dog on", finish="model_length")),
            "broken off answer": completion(choice("a dog on", finish="error")),
            "schema": completion(choice('{"caption": "a dog"}')),
        },
        unauthorized=Response(401, {"message": "Unauthorized", "request_id": "1"}),
    ),
    Provider(
        "DeepSeek",
        "https://api-docs.deepseek.com/quick_start/error_codes",
        {
            "wrong key": error(401, "Authentication Fails (no such user)", type="authentication_error"),
            "no credit": error(402, "Insufficient Balance", code="invalid_request_error"),
            "rate limit": error(429, "Rate limit reached"),
            "overloaded": error(503, "Service is too busy"),
            "kept alive": Response(
                200,
                b"\n\n\n" + b'{"choices": [{"index": 0, "finish_reason": "stop", "message": '
                b'{"content": "a dog 0"}}], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}',
            ),
            "unknown model": error(400, "Model Not Exist", type="invalid_request_error"),
            "thinking": reasoned("reasoning_content"),
            "only thinking": TINY,
            "cut answer": CUT,
            "broken off answer": completion(choice("a dog on", finish="insufficient_system_resource")),
            "cached tokens": completion(
                choice("a dog 0"), usage={"prompt_cache_hit_tokens": 16, "prompt_cache_miss_tokens": 4}
            ),
        },
        unauthorized=error(401, "Authentication Fails (no such user)", type="authentication_error"),
        answer=single,
    ),
    Provider(
        "Groq",
        "https://console.groq.com/docs/errors",
        {
            "wrong key": error(401, "Invalid API Key", code="invalid_api_key"),
            "rate limit": error(
                429, "Rate limit reached for model", {"retry-after": "0.02"}, code="rate_limit_exceeded"
            ),
            "no credit": error(400, "Access to the API is paused until next month", code="blocked_api_access"),
            "overloaded": error(498, "Flex tier capacity exceeded", code="capacity_exceeded"),
            "unknown model": error(404, "The model `x` does not exist", code="model_not_found"),
            "unknown setting": error(400, "property 'top_k' is unsupported", type="invalid_request_error"),
            "prompt too long": error(413, "Request too large for model", code="request_too_large"),
            "more tokens than a minute allows": error(413, TOO_LARGE, type="tokens", code="rate_limit_exceeded"),
            "schema violated": error(
                400,
                "Failed to generate JSON. Please adjust your prompt. See 'failed_generation' for more details.",
                type="invalid_request_error",
                code="json_validate_failed",
                failed_generation='{"caption": ',
            ),
            "thinking": reasoned("reasoning"),
            "cut answer": CUT,
        },
        path="/openai/v1",
        refuses=one_only(400, "'n' : number must be at most 1"),
        answer=single,
    ),
    Provider(
        "Together",
        "https://docs.together.ai/docs/error-codes",
        {
            "wrong key": error(401, "Invalid API key provided", code="invalid_api_key"),
            "no credit": error(402, "The account has reached its maximum allowed monthly spending limit."),
            "rate limit": error(429, "You have been rate limited", type="model_rate_limit"),
            "overloaded": error(503, "Engine overloaded"),
            "prompt too long": error(
                403, "Input token count + max_tokens must be less than the context length of the model."
            ),
            "unknown model": error(404, "Unable to access model x.", code="model_not_available"),
            "cut answer": CUT,
            "ends with eos": completion(choice("a dog 0", finish="eos")),
        },
    ),
    Provider(
        "Bedrock",
        "https://docs.aws.amazon.com/bedrock/latest/userguide/inference-chat-completions.html",
        {
            "wrong key": Response(
                403, {"message": "The security token included in the request is invalid: access denied."}
            ),
            "unknown setting": error(
                400,
                "Failed to deserialize the JSON body into the target type: top_k: invalid type at line 1 column 187",
                code="validation_error",
                type="invalid_request_error",
            ),
            "thinking": completion(choice(f"<reasoning>{THOUGHT}</reasoning>a dog 0")),
            "prompt too long": Response(400, {"message": "Input is too long for requested model."}),
            "rate limit": Response(429, {"message": "Too many requests, please wait before trying again."}),
            "overloaded": Response(424, {"message": "The model returned an unexpected error: ModelErrorException"}),
            "unknown model": Response(404, {"message": "The model you requested is not found in this region."}),
            "filtered answer": completion(choice("blocked", finish="guardrail_intervened")),
            "cut answer": CUT,
        },
        unauthorized=Response(
            403, {"message": "The security token included in the request is invalid: access denied."}
        ),
    ),
    Provider(
        "LiteLLM proxy",  # version 1.110; wrong key: "No connected db." without a database, else 401
        "https://docs.litellm.ai/docs/proxy/error_reference",
        {
            "wrong key": error(
                401, "Authentication Error, Invalid proxy server token passed", type="auth_error", code="401"
            ),
            "no credit": error(
                422,
                "Budget has been exceeded! Key=k Current cost: 2.0, Max budget: 1.0",
                type="budget_exceeded",
                param=None,
                code="422",
            ),
            "plan used up": litellm_error(
                429,
                "litellm.RateLimitError: RateLimitError: OpenAIException - You exceeded your current quota, please"
                " check your plan and billing details. For more information, read https://platform.openai.com/docs.",
            ),
            "real cost": completion(choice("a dog 0"), usage={"cost": 0.0004, "is_byok": True})._replace(
                headers={"x-litellm-response-cost": "0.00042", "x-litellm-response-cost-original": "0.0004"}
            ),
            "rate limit": litellm_error(429, "No deployments available for selected model, Try again in 0.02 seconds."),
            "overloaded": litellm_error(500, "litellm.InternalServerError: OpenAIException - upstream"),
            "model unloaded": litellm_error(400, "litellm.BadRequestError: Lm_studioException - Model unloaded."),
            "unknown model": error(400, "Invalid model name passed in model=x. Call `/v1/models`.", code="400"),
            "unknown setting": litellm_error(
                400, "litellm.UnsupportedParamsError: openai does not support parameters: ['top_k']"
            ),
            "no system role": litellm_error(500, f"litellm.InternalServerError: OpenAIException - {TEMPLATE}"),
            "prompt refused": litellm_error(424, "litellm.APIError: OpenAIException - Prompt blocked due to security"),
            "prompt too long": litellm_error(400, "litellm.ContextWindowExceededError: too long"),
            "more tokens than a minute allows": litellm_error(
                429, f"litellm.RateLimitError: RateLimitError: OpenAIException - {TOO_LARGE}"
            ),
            "context full": litellm_error(
                500, "litellm.InternalServerError: OpenAIException - context shift is disabled"
            ),
            "no choice": Response(200, {"object": "chat.completion", "choices": [], **NO_CHOICE}),
            "thinking": reasoned("reasoning_content"),
            "cut answer": completion({**choice("a dog on"), **native("model_length")}),  # reported as a stop
            "broken off answer": completion({**choice("a dog on"), **native("insufficient_system_resource")}),
            "filtered answer": completion({**choice("a dog on"), **native("MODEL_ARMOR")}),
        },
        unauthorized=error(400, "No connected db.", type="no_db_connection", param=None, code="400"),
        refuses=one_only(400, "litellm.UnsupportedParamsError: mistral does not support parameters: ['n']"),
        answer=single,
    ),
    *HOSTED,
    *CHINESE,
)

__all__ = ["PROVIDERS", "Provider", "several", "text_of"]

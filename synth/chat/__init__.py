"""The chat-completions protocol as servers implement it: requests, answers, errors, token counts and secrets."""

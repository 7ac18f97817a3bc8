"""Messages written for a terminal or a spec, in the terms of the pages: their buttons and fields instead of commands,
options and keys."""

from __future__ import annotations

import re

from schemas.wording import capital

_ON_RUN = "run generate curate certify train train-reward evaluate export preview forecast"
_COMMANDS = {
    **{name: f"“{name}” on the Run page" for name in _ON_RUN.split()},
    "preview": "“Preview 5 seeds” under Setup",
    "forecast": "“Forecast from 20 seeds” under Setup",
    "certify": "“Check now” on the Review page",
    "review push": "“Send rows to reviewers” on the Review page",
    "review pull": "“Fetch answers” on the Review page",
    "review up": "“Send rows to reviewers” on the Review page",
    "review status": "the Review page",
    "rows": "the Rows page",
    "explain": "the Rows page",
    "jobs": "the Run page",
    "status": "the Overview page",
}
_COMMAND = re.compile(rf"`pairsmith ({'|'.join(sorted(_COMMANDS, key=len, reverse=True))})(?: ([^`]*))?`")
# Options of commands on the Run page. A command with another one stays: without it, it would do something else.
_OPTIONS = {"--no-review": " with “Skip review” checked", "--retry-failed": " with “Retry rows” checked"}
_OPENED = re.compile(r"\b(R|r)un(?= the \w+ page| “[A-Z])")  # before a page or a button, which are not run
_PHRASES = (
    (
        "swap them here and swap language and to above",
        "start a new project with the task “translate” and the other target language",
    ),
    (r"Leave out --kind \w+ to see .*", "Let the task be detected to see how the file is read."),
    (
        r"[Ss]et teacher\.usd_per_million_prompt_tokens and teacher\.usd_per_million_completion_tokens",
        "Enter the token prices under Teacher in Setup",
    ),
    ("with --retry-failed", "with “Retry rows” checked,"),
    ("--max-usd", "the cap"),
    # In parentheses: what a reader of the terminal or the spec needs beside the plain words.
    (r" \((?:see )?`(?:pairsmith docs \w+|--kind \w+|group)`\)", ""),
    (r"(?:,? (?:and|or)|:) (?:see )?`pairsmith docs \w+`", ""),
    (r" into evaluate\.checks", " into “Additional checks for good answers” in Setup"),
    (r" \((?:split\.test|teacher\.key_env)(?: = [\d.]+)?\)", ""),
)
_STEPS = {
    "exemplars": "Style",
    "teacher": "Teacher",
    "curate": "Checks",
    "train": "Model",
    "split": "Test",
    "evaluate": "Test",
}
_CHANGED = re.compile(rf"\b((task|generate|{'|'.join(_STEPS)})[\w.]*)(?=(?: and \d+ more)? ha(?:s|ve) changed)")
# The labels of form fields whose names errors give as their place.
FIELDS = {
    "edited": "Corrected output",
    "cap_usd": "Cap for this run",
    "stop_after_accepted": "Stop once this many rows have passed",
    "precision": "Minimum share of good rows",
    "confidence": "Confidence",
    "max_usd": "Project cap",
    "epochs": "Epochs",
    "test_share": "Test seeds, in percent",
    "answer_tokens": "Maximum tokens per test answer",
    "min_words": "Minimum words per output",
    "max_words": "Maximum words per output",
}


def on_page(text: str) -> str:
    """`text` in the terms of the pages. Commands that have no page, such as `pairsmith doctor`, stay."""
    shown = text
    for pattern, words in _PHRASES:
        shown = re.sub(pattern, words, shown)
    shown = _CHANGED.sub(_with_step, shown)
    shown = _COMMAND.sub(_with_button, shown)
    shown = _OPENED.sub(lambda run: "Use" if run[1] == "R" else "use", shown)
    return capital(shown) if text.startswith(("`", "--")) else shown


def _with_button(command: re.Match[str]) -> str:
    shown, options = _COMMANDS[command[1]], command[2]
    if not options or not shown.endswith("on the Run page"):
        return shown
    return f"{shown}{_OPTIONS[options]}" if options in _OPTIONS else command[0]


def _with_step(key: re.Match[str]) -> str:
    """A changed key of the spec, after the step of the setup page that sets it."""
    step = "Style" if key[1] in ("task.style", "task.language") else _STEPS.get(key[2])
    step = "Prompts" if key[1].startswith("generate.") and key[1].endswith(".prompt") else step
    return f"“{step}” ({key[1]})" if step else key[1]

"""The annotation task in Argilla: fields, questions, metadata, and the contents of one row.

Argilla's page inserts plain-text and chat fields as HTML, and custom fields into a frame of its own origin, so a text
with `<img onerror=...>` in it would run as code with the reader's session. Only Markdown is sanitised. Therefore every
field is Markdown with a single HTML block whose texts are escaped. The HTML has no style attributes, because a search
would find their words.
"""

from __future__ import annotations

import difflib
import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from curate.argilla import edits, rules
from curate.gates.words import count_words
from curate.review.population import Population
from curate.words import ALONE, SIGNS, SPACED
from prompts.answer_form import AnswerForm
from schemas.kinds import KINDS
from schemas.project import Project
from schemas.records import Json, Message, Pair, Verdict
from schemas.reviews import Review, SamplingReason
from schemas.step_names import By

VERDICTS = {"accept": "Accept", "reject": "Reject", "edit": "Edit"}
LETTERS = "ABCDEFGH"  # names of the other candidates; no more than these are shown
THIS = "this"
_MAX_EXAMPLES = 4  # each of good and bad ones
_SPLIT = re.compile(  # words and numbers; in scripts without spaces, single characters with their vowel signs
    rf"(\d{{1,3}}(?:[,\uff0c]\d{{3}})+(?!\d)|(?:{SPACED}|[{SIGNS}])+|[\w{ALONE}])"
)
_MAX_GUIDELINES = 9_500  # characters; Argilla allows 10,000, which include the queue's mark
_TEXT_LIMITS = (10_000, 2_000, 1_000, 500, 250, 100, 0)  # characters per text, tried in turn; the house style gets more
_MAX_COMPARED = 100_000  # pairs of equal words; two texts of 3,000 words have fewer
_SHORT_WORD = 3  # characters; a word of this length or less is weak evidence of being taken over
# Sampling reasons whose answers feed an estimate or an annotator's accuracy. Such a row is judged on its own: neither
# automatic findings nor other outputs are shown with it. This also makes gold indistinguishable from the other rows.
BLIND_REASONS: tuple[SamplingReason, ...] = ("certify", "audit_accepted", "audit_rejected", "gold")


def settings(
    project: Project,
    client: Any,
    guidelines: str,
    *,
    other_candidates: int,
    min_submitted: int,
    conversation: bool = False,
    adjudication: bool = False,
) -> Any:
    """Return the `argilla.Settings` of one queue.

    `other_candidates`: the largest number of other outputs of any input (at most 8 are shown). `min_submitted`: the
    number of answers that complete a row.

    The verdict comes first and is the only required question, so a row takes one key (1, 2 or 3) and Enter. The
    correction comes next: there a digit has no effect, so pressing a verdict's key twice does not select a reason.
    Annotators can filter and sort by `length`; the other metadata is hidden, because it would reveal automatic
    findings. `length` is not numeric, because in the page's numeric filter Enter submits the row and Backspace discards
    it.
    """
    import argilla as rg

    shown = LETTERS[:other_candidates]
    task = project.spec.task
    kind = KINDS[task.kind]
    languages = {"input": f" ({task.language})", "output": f" ({task.to})"} if task.to else {"input": "", "output": ""}
    fields = [
        rg.ChatField(name="conversation", title="Earlier turns", required=False, use_markdown=True, _client=client)
        if conversation
        else None,
        _field("simple", kind.input.capitalize() + languages["input"], client, required=True),
        _field("enhanced", kind.output.capitalize() + languages["output"], client, required=True),
        _field("answers", "What the annotators said; your answer is final", client) if adjudication else None,
        _field("findings", "What the programs found", client),
        _field("rules", "House style", client),
        _field("candidates", "Other outputs for this input", client) if shown else None,
    ]
    hidden = {"visible_for_annotators": False, "client": client}
    return rg.Settings(
        guidelines=guidelines,
        fields=[field for field in fields if field],
        questions=_questions(project, shown, client),
        metadata=[
            rg.TermsMetadataProperty(name="length", title="Length of the output", client=client),
            rg.TermsMetadataProperty(name="chosen_for", title="Chosen for", **hidden),
            rg.TermsMetadataProperty(name="rejected_by", title="Rejected by", **hidden),
            # The same name as in existing queues.
            rg.TermsMetadataProperty(name="rivals", title="Other outputs, A first", **hidden),
        ],
        distribution=rg.TaskDistribution(min_submitted=min_submitted),
        allow_extra_metadata=False,
    )


def _questions(project: Project, others: str, client: Any) -> list[Any]:
    """Return the questions about a row. `others`: the letters of the other outputs; if empty, `best` is left out."""
    import argilla as rg

    task, form = project.spec.task, AnswerForm.of(project.spec.task, project.folder)
    reasons = {reason: reason.replace("_", " ").capitalize() for reason in project.spec.review.reasons}
    optional = {"required": False, "client": client}
    best = {
        "description": "Only where other outputs are shown.",
        "labels": {THIS: "This one", **{letter: letter for letter in others}},
    }
    return [
        rg.LabelQuestion(
            name="verdict", title=f"Is the {KINDS[task.kind].output} good?", labels=VERDICTS, client=client
        ),
        *edits.questions(form, client),
        rg.MultiLabelQuestion(name="reasons", title="What is wrong with it?", labels=reasons, **optional),
        *([rg.LabelQuestion(name="best", title="Which output is best?", **best, **optional)] if others else []),
    ]


def _field(name: str, title: str, client: Any, *, required: bool = False) -> Any:
    import argilla as rg

    return rg.TextField(name=name, title=title, use_markdown=True, required=required, client=client)


def record(
    project: Project,
    population: Population,
    pair: Pair,
    reasons: Sequence[SamplingReason],
    *,
    messages: Sequence[Message] = (),
    answers: Sequence[Review] = (),
    gold: GoldDisguise | None = None,
    form: AnswerForm | None = None,
) -> Json:
    """Return one row in the format of Argilla's bulk endpoint, with suggestions keyed by the question's name.

    `external_id` is the pair's id. `messages`: the seed's conversation. `answers`: the annotators' answers, for an
    adjudicator. `gold`: what a gold item shows when it is disguised as a calibration row. `form`: the task's answer
    form, if the caller already has it.

    The metadata contains no score or rank: gold items have none, and annotators can filter by hidden metadata.
    """
    blind = bool(set(reasons) & set(BLIND_REASONS)) and gold is None
    # Ordered by id, which carries no information: the order of a list influences its readers.
    others = () if blind else population.other_candidates(pair.id)[: len(LETTERS)]
    other_candidates = gold.others if gold else population.pairs(sorted(others))
    findings = list(gold.findings) if gold else population.findings(pair.id)
    doubts = () if blind else findings
    form = form or AnswerForm.of(project.spec.task, project.folder)
    before, after = render_texts(project, form, pair)
    earlier = [m for m in messages if m.role != "system"]
    if earlier and earlier[-1].content == pair.input:
        del earlier[-1]  # it is the input
    fields: Json = {
        "simple": f"<div>{before}</div>",
        "enhanced": f"<div>{after}</div>",
        "answers": _answers(pair, answers),
        "findings": _findings(doubts),
        "rules": _paragraphs(rules.lines(project, pair, doubts, escaped)),
        "candidates": _candidates(form, list(other_candidates.values())),
        "conversation": [{"role": m.role, "content": f"<div>{escaped(m.content)}</div>"} for m in earlier],
    }
    metadata: Json = {
        "length": _length(pair.output),
        # Gold must not be distinguishable from the rows around it.
        "chosen_for": list(dict.fromkeys(r if r != "gold" else "fit" if gold else "certify" for r in reasons)),
        "rejected_by": [verdict.by for verdict in findings if verdict.keep is False],
        "rivals": list(other_candidates),
    }
    return {
        "external_id": pair.id,
        "fields": {name: value for name, value in fields.items() if value},
        "metadata": {name: value for name, value in metadata.items() if value != []},
        # Only the text to edit. A suggested verdict would be copied, and there is no calibrated probability to base one
        # on. The page submits whatever it prefills, so suggested reasons or rankings would come back as the reviewer's
        # answers.
        "suggestions": [
            {"question": question, "value": text, "agent": "model"}
            for question, text in edits.suggestions(form, pair).items()
        ],
    }


@dataclass(frozen=True)
class GoldDisguise:
    """What a gold item shows when it is disguised as a calibration row: the gates' noteworthy verdicts, and other
    outputs for its input, by id."""

    findings: Sequence[Verdict]
    others: Mapping[str, Pair]


def render_texts(project: Project, form: AnswerForm, pair: Pair) -> tuple[str, str]:
    """Render input and output as HTML: records field by field, and with the differences marked if the task should keep
    words, that is, if the gate `lost_content` is on."""
    if (values := edits.by_field(form, pair)) is not None:
        return escaped(pair.input), "".join(f"<p><b>{escaped(k)}</b> {escaped(v)}</p>" for k, v in values.items())
    if project.spec.curate.gates.lost_content:
        return mark_differences(pair.input, pair.output)
    return escaped(pair.input), escaped(pair.output)


def _length(text: str) -> str:
    """Return the length class of a text, such as `030 to 039 words`. Classes sort numerically. In scripts without
    spaces, a character counts as a word, as in the gate `length`."""
    words = count_words(text)
    if words >= 1_000:
        return f"at least {min(words // 1_000, 9)},000 words"
    step = 10 if words < 100 else 100
    least = words // step * step
    return f"{least:03} to {least + step - 1:03} words"


def escaped(text: str) -> str:
    """Escape a text as one line of HTML in a Markdown block: tags appear as text, and nothing can end the block."""
    return re.sub(r"\r\n?|\n", "<br>", html.escape(text, quote=False))


def displayed_field_text(field: str) -> str:
    """Return the plain text of a field built by `record`, without its markup."""
    return html.unescape(re.sub(r"</?(?:div|del|ins|b|p)>", "", field.replace("<br>", "\n"))).strip()


def mark_differences(before: str, after: str) -> tuple[str, str]:
    """Return both texts as complete HTML with the differences marked.

    In `before`, words that occur nowhere in `after` are struck through. In `after`, the smaller part is marked: either
    the new words (underlined) or the words taken over from `before` (bold).

    A word counts as taken over if it is part of a sequence in the same order in both texts. Of the others, it counts if
    it is long or contains a digit, as often as `before` has it: a number that moved is the same number, while a second
    `the` is a different word. In scripts without spaces, a character counts only together with an adjacent one, because
    a single character is as little evidence as a single letter of `fox`.
    """
    old, new = _SPLIT.split(before), _SPLIT.split(after)
    old_words, words = _normalised_words(old), _normalised_words(new)
    before_html = [escaped(part) for part in old]
    for at, present in enumerate(_present_in_other(old, old_words, new, words)):
        before_html[2 * at + 1] = _tagged("del", old[2 * at + 1], not present)
    # Aligning long, very repetitive texts could take minutes, and their word order means little.
    counts = Counter(old_words)
    alignable = sum(counts[word] for word in words) <= _MAX_COMPARED
    blocks = difflib.SequenceMatcher(None, old_words, words, autojunk=False).get_matching_blocks() if alignable else []
    kept = [False] * len(words)
    for block in blocks:
        kept[block.b : block.b + block.size] = [True] * block.size
    left = Counter(old_words) - Counter(word for word, is_kept in zip(words, kept, strict=True) if is_kept)
    for at, present in enumerate(_present_in_other(new, words, old, old_words)):
        if _is_unspaced_character(words[at]):
            kept[at] = present
        elif not kept[at] and left[words[at]] and (len(words[at]) > _SHORT_WORD or any(c.isdigit() for c in words[at])):
            kept[at], left[words[at]] = True, left[words[at]] - 1
    taken = sum(len(word) for word, is_kept in zip(words, kept, strict=True) if is_kept)
    tag, mark = ("b", True) if 2 * taken < sum(map(len, words)) else ("ins", False)
    return "".join(before_html).replace("</del><del>", ""), "".join(_render_runs(new, [k is mark for k in kept], tag))


def _normalised_words(parts: Sequence[str]) -> list[str]:
    """Return the words among the parts of a `_SPLIT`, normalised: NFKC, case-folded, and numbers without commas."""
    words = (unicodedata.normalize("NFKC", part).casefold() for part in parts[1::2])
    return [word.replace(",", "") if word[0].isdigit() else word for word in words]


def _is_unspaced_character(word: str) -> bool:
    return len(word) == 1 and re.match(SPACED, word) is None


def _present_in_other(
    parts: Sequence[str], words: Sequence[str], others: Sequence[str], other_words: Sequence[str]
) -> list[bool]:
    """For each word, whether the other text has it. A character of a script without spaces, if it has neighbours, must
    occur there next to one of them."""
    single, pairs = set(other_words), set(_adjacent_words(others, other_words))
    own_pairs = [None, *_adjacent_words(parts, words), None]
    neighbours = [[pair for pair in own_pairs[at : at + 2] if pair] for at in range(len(words))]
    return [
        any(pair in pairs for pair in adjacent) if adjacent and _is_unspaced_character(word) else word in single
        for word, adjacent in zip(words, neighbours, strict=True)
    ]


def _adjacent_words(parts: Sequence[str], words: Sequence[str]) -> list[tuple[str, str] | None]:
    """Return each word with the next one, or None if anything separates them."""
    return [None if parts[2 * at + 2] else pair for at, pair in enumerate(pairwise(words))]


def _render_runs(parts: Sequence[str], marks: Sequence[bool], tag: str) -> Iterator[str]:
    """Yield words and the text between them as HTML, with one tag around each run of marked words that are separated
    only by whitespace. Punctuation on its own is never marked."""
    at = 0
    while at < len(parts):
        end = at
        if at % 2 and marks[at // 2]:
            while end + 2 < len(parts) and marks[end // 2 + 1] and not parts[end + 1].strip():
                end += 2
            yield _tagged(tag, "".join(parts[at : end + 1]), True)
        else:
            yield escaped(parts[at])
        at = end + 1


def _tagged(tag: str, text: str, mark: bool) -> str:
    return f"<{tag}>{escaped(text)}</{tag}>" if mark and text.strip() else escaped(text)


def _findings(findings: Sequence[Verdict]) -> str:
    lines = []
    for verdict in findings:
        step = By.read(verdict.by).key
        reason = verdict.reason
        words = reason.detail if reason.code == "ok" and reason.detail else str(reason)  # a flagged row is not "ok"
        lines.append(f"<b>{escaped(step)}</b> {escaped(words)}")
    return _paragraphs(lines)


def _candidates(form: AnswerForm, pairs: Sequence[Pair]) -> str:
    def text(pair: Pair) -> str:
        values = edits.by_field(form, pair)
        return pair.output if values is None else ", ".join(f"{name}: {value}" for name, value in values.items())

    return _paragraphs([f"<b>{letter}</b> {escaped(text(pair))}" for letter, pair in zip(LETTERS, pairs, strict=False)])


def _answers(pair: Pair, answers: Sequence[Review]) -> str:
    """Render one paragraph per answer: reviewer, verdict, reasons, and an edit's text with its changes marked."""
    lines = []
    for review in answers:
        why = ", ".join(reason.replace("_", " ") for reason in review.reasons)
        text = f"<br>{mark_differences(pair.output, review.edited)[1]}" if review.edited else ""
        lines.append(f"<b>{escaped(review.who)}</b> {review.decision}{escaped(f' ({why})' if why else '')}{text}")
    return _paragraphs(lines)


def _paragraphs(lines: Sequence[str]) -> str:
    return f"<div>{''.join(f'<p>{line}</p>' for line in lines)}</div>" if lines else ""


def guidelines(project: Project, bad: Sequence[tuple[Pair, str]]) -> str:
    """Return the annotation guidelines in Markdown: the task, the keys, good examples (from the spec) and `bad` ones
    (rows that a gate rejected, with its reason). Long texts are cut so that the whole fits Argilla's limit."""
    for limit in _TEXT_LIMITS:
        text = _guidelines(project, bad, limit)
        if len(text) <= _MAX_GUIDELINES:
            break
    return text


def _guidelines(project: Project, bad: Sequence[tuple[Pair, str]], limit: int) -> str:
    """Render `guidelines.md.j2`, with texts of at most `limit` characters."""
    from jinja2 import Environment, StrictUndefined

    task, environment = project.spec.task, Environment(undefined=StrictUndefined)
    environment.filters |= {"cut": _cut, "escaped": escaped}
    template = environment.from_string(Path(__file__).with_name("guidelines.md.j2").read_text(encoding="utf-8"))
    text = template.render(
        task=task,
        kind=KINDS[task.kind],
        own_server=project.spec.review.url is None,
        offers_labels=bool(edits.offered_labels(AnswerForm.of(task, project.folder))),
        marks=project.spec.curate.gates.lost_content and not task.labels and not task.answer_schema,
        exemplars=project.spec.exemplars[:_MAX_EXAMPLES],
        bad=bad,
        limit=limit,
    )
    return text.rstrip() + "\n"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit].rstrip()} [...]"


def bad_examples(population: Population) -> list[tuple[Pair, str]]:
    """Return rows that a gate rejected, with its reason: one row per gate, sorted by the gate's name."""
    shown = [(by, population.rejected[by]) for by in sorted(population.rejected)][:_MAX_EXAMPLES]
    pairs = population.pairs(pair_id for _, pair_id in shown)
    reasons = {(v.by, v.pair_id): str(v.reason) for id_ in pairs for v in population.findings(id_) if v.keep is False}
    return [(pairs[pair_id], reasons[by, pair_id]) for by, pair_id in shown]

"""`[curate]`: from candidates to an accepted set."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from schemas.records import Sampling
from schemas.spec.section import Drawing, Pattern, Section, UserFunction, later


class LengthSettings(Section):
    """Bounds on the words of the output, and on the ratio of output words to input words."""

    min_words: int = Field(default=1, ge=0)
    max_words: int = Field(default=4000, ge=1)
    min_ratio: float = Field(default=0.0, ge=0)
    max_ratio: float = Field(default=1000.0, gt=0)

    @model_validator(mode="after")
    def _check_bounds(self) -> LengthSettings:
        for unit in ("words", "ratio"):
            least, most = getattr(self, f"min_{unit}"), getattr(self, f"max_{unit}")
            if least > most:
                raise ValueError(f"min_{unit} = {least} and max_{unit} = {most} let no row through")
        return self


Mode = bool | Literal["flag"]
"""True: the gate rejects rows. "flag": rows it would reject are kept and flagged for a look. False: the gate is off."""


class GateSettings(Section):
    """Code gates. By default, gates that were measured to reject at most one good row in a hundred reject, and the
    others flag (docs/gates.md); a task kind switches on two more. `user` names functions `module:function` beside the
    spec file."""

    length: LengthSettings | Literal[False] = LengthSettings()
    repetition: Mode = True
    echo: Mode = True
    preamble: Mode = True
    thinking: Mode = True
    placeholder: Mode = True
    encoding: Mode = True
    cut: Mode = True
    fenced: Mode = True
    broken_json: Mode = True
    answered: Mode = True
    lost_content: Mode = "flag"
    language: Mode = True
    mixed_language: Mode = "flag"
    invented: Mode = "flag"
    contacts: Mode = "flag"
    invented_name: Mode = "flag"
    swapped: Mode = "flag"
    limits: Mode = "flag"
    injection: Mode = "flag"
    toxic: Mode = "flag"
    pii: Mode = False
    must: tuple[Pattern, ...] = ()
    must_not: tuple[Pattern, ...] = ()
    json_schema: str | None = None
    sums: Mode = later("flag")
    facts: Mode = later("flag")
    instructed: Mode = later("flag")
    values: Mode = later(False)
    translated: Mode = later(False)
    user: tuple[UserFunction, ...] = ()


class DuplicateSettings(Section):
    """Exact and near-duplicate removal: rows whose word bigrams have a Jaccard similarity of `jaccard` or more are
    duplicates. Rows with a cosine similarity of `semantic` or more, which say about the same in different words, are
    flagged."""

    enabled: bool = True
    jaccard: float = Field(default=0.7, gt=0, le=1)
    semantic: float | None = Field(default=None, gt=0, le=1)


class ContaminationSettings(Section):
    """`files`: further texts that no training row may repeat, such as a public benchmark; every text of a text, JSON,
    JSONL, CSV, TSV or Parquet file beside the spec counts. Rows with a similarity of `semantic` or more to a held-out
    text, which say about the same in different words, are flagged."""

    files: tuple[str, ...] = later(())
    semantic: float | None = later(gt=0, le=1)


class ScoreSettings(Section):
    """The scorer that compares candidates of one input.

    `auto`: a Bradley-Terry reward model fitted on good against corrupted outputs if it beats length on unseen
    corruptions, otherwise the PMI score. `pmi`: log p(output | input) - log p(output) under the embedded model. `none`
    keeps every row that passes the gates. `similarity`: the similarity of output and reference. `judge`: the weighted
    share of checklist questions that are answered with yes. Any other value is a folder or hub id of a
    sequence-classification reward model, whose commit `revision` may name.

    `teacher` is the name under `[teachers]` of a reward model behind an endpoint: a vLLM that serves it for pooling
    (`classify`), or a hosted model that answers a chat with `reward:` and a number (`chat`).
    """

    model: str = "auto"
    revision: str | None = None
    teacher: str | None = None
    protocol: Literal["classify", "chat"] = "classify"
    batch_tokens: int = Field(default=4096, ge=128)

    @model_validator(mode="after")
    def _check_single_scorer(self) -> ScoreSettings:
        # "none" is the default of some task kinds.
        if self.teacher is not None and self.model not in ("auto", "none"):
            raise ValueError(
                f"model = '{self.model}' and teacher = '{self.teacher}' name two scorers; remove one of them"
            )
        return self


class JudgeQuestion(Section):
    """A yes-or-no question about a row, phrased so that yes is good. With `must`, a "no" rejects or flags the row."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")
    question: str = Field(min_length=1)
    weight: float = Field(default=1.0, gt=0)
    must: Mode = False


class JudgeSettings(Section):
    """A checklist that language models answer for every row. `teachers` are names under `[teachers]`; without any,
    there is no judging. Without `questions`, those of the task kind are asked (curate/scorers/judge.py)."""

    teachers: tuple[str, ...] = ()
    questions: tuple[JudgeQuestion, ...] = Field(default=(), max_length=24)
    sampling: Drawing = Sampling(temperature=0.0, max_tokens=512)

    @model_validator(mode="after")
    def _check_question_names(self) -> JudgeSettings:
        names = [question.name for question in self.questions]
        if word := next((name for name in names if name in ("yes", "no", "true", "false")), None):
            raise ValueError(f"a question may not be called '{word}': its name would be confused with its answer")
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"two questions are called '{twice}'")
        return self


class SelectSettings(Section):
    """Keep the best `best` candidates of every input. With `length_control`, the part of the scores that length
    explains is removed first.

    `certified` keeps the rows in the certificate and those that reviewers accepted; the others wait. `rows` is the
    maximum number of rows to train on, chosen by `spread`: `diverse` (far from each other), `random`, or evenly over
    `length`, `kind` (of the seed) or the values of a seed column. Rows accepted by reviewers come first.
    """

    best: int = Field(default=1, ge=1)
    length_control: bool = False
    certified: bool = later(False)
    rows: int | None = later(ge=1)
    spread: str = later("diverse", min_length=1)


class CurateSettings(Section):
    """From pairs to an accepted set. `nli` is a folder or hub id of a natural-language-inference model, which flags
    outputs that contradict their input. `unlikely_labels` flags labels that the other rows contradict."""

    gates: GateSettings = GateSettings()
    contamination: ContaminationSettings = later(ContaminationSettings())
    duplicates: DuplicateSettings = DuplicateSettings()
    score: ScoreSettings = ScoreSettings()
    select: SelectSettings = SelectSettings()
    judge: JudgeSettings = JudgeSettings()
    nli: str | None = None
    unlikely_labels: bool = later(True)

    @model_validator(mode="after")
    def _check_judges(self) -> CurateSettings:
        if self.score.model == "judge" and not self.judge.teachers:
            raise ValueError("score.model = 'judge' needs judge.teachers, the names of the judges")
        return self

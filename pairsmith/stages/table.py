"""The stages, in the order of the pipeline: what each does, and how its outcome is shown.

The commands are made from this table, and `pairsmith run` goes through it. A stage needs no command line:

    outcome = stage("curate").run(project, store)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple

from pairsmith import exported_model
from pairsmith.outcome import Came, EvaluateOutcome, ExportOutcome, GenerateOutcome
from pairsmith.stages import curate, evaluate, export, generate, review, train, train_reward
from schemas.project import Project

if TYPE_CHECKING:
    from rich.console import RenderableType

Lines = list[tuple[str, str]]


class Option(NamedTuple):
    """An option of a stage's command, passed to `run` by its name: a switch, a path, or any number of some words."""

    flag: str
    takes: type[bool] | type[Path] | tuple[str, ...]
    help: str


@dataclass(frozen=True)
class Stage(Generic[Came]):
    """`run(project, store, *, progress, say, stop, **options)` does the stage; `summary` is what there is to say beside
    the counts, `shown` what its own command shows after that. `help` is that of the command."""

    name: str
    run: Callable[..., Came]
    help: str
    summary: Callable[[Came], Lines] = lambda outcome: []
    shown: Callable[[Project, Came], Sequence[RenderableType]] = lambda project, outcome: ()
    options: tuple[Option, ...] = ()
    asks: bool = False
    """Whether it may ask a teacher for money."""
    code: Callable[[Came], int] = lambda outcome: 0
    """The exit code of its command where it worked."""


STAGES: tuple[Stage[Any], ...] = (
    Stage[GenerateOutcome](
        "generate",
        generate.generate,
        """Ask the teacher for every pair that is not in the store yet.

        Nothing that was paid for is asked twice, whatever ended the last run.
        """,
        summary=generate.summary,
        options=(
            Option("--retry-failed", bool, "Ask again for rows whose answers were all unusable."),
            Option("--batch", bool, "Ask through the provider's batch API: within a day, at half the price."),
        ),
        asks=True,
    ),
    Stage(
        "curate",
        curate.curate,
        """Gates, duplicates, scores and selection: what is accepted goes into `dataset/`.

        Steps only annotate, so running it again after a change of thresholds judges nothing twice.
        """,
        summary=curate.summary,
        asks=True,
    ),
    Stage(
        "review",
        review.review,
        """Bring people's answers, and send rows until the accept share is known as well as the spec asks.""",
        summary=review.summary,
    ),
    Stage(
        "train",
        train.train,
        """Tune the small model on the accepted pairs; the adapter goes into `adapters/`.

        The same dataset and settings again find the adapter that is there.
        """,
        summary=train.summary,
        options=(
            Option("--curve", bool, "Draw the learning curve too: six more trainings, and one for each slice of rows."),
        ),
    ),
    Stage(
        "train-reward",
        train_reward.train_reward,
        """Fit a reward model on what people and gates prefer here, and test it beside length.

        It is no stage of `run`: where it is better than length, name it in curate.score.model.
        """,
        summary=train_reward.summary,
    ),
    Stage[EvaluateOutcome](
        "evaluate",
        evaluate.evaluate,
        """Measure base, few-shot, retrieval, teacher and tuned model on the locked test split.

        Every answer goes through the ledger: an evaluation that was stopped goes on, one that is done sends nothing.
        """,
        shown=evaluate.tables,
        options=(Option("--gate", bool, "End with the verdict: 0 ship, 14 do not ship, 15 not enough evidence."),),
        asks=True,
        code=evaluate.exit_code,
    ),
    Stage[ExportOutcome](
        "export",
        export.export,
        """Copy the dataset, the tuned model that was measured and the report into a folder of their own.

        An export that is there already is replaced; anything else in the way is left alone and told.
        """,
        summary=export.summary,
        options=(
            Option("--out", Path, "The folder to write; `export` in the project if absent."),
            Option("--gguf", exported_model.GGUF, "Also as a GGUF, for Ollama and llama.cpp; repeatable."),
            Option("--format", export.FORMATS, "Also the rows as this trainer reads them; repeatable."),
        ),
    ),
)


def stage(name: str) -> Stage[Any]:
    """The stage of that name."""
    return next(row for row in STAGES if row.name == name)

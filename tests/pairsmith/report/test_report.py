"""Tests of the HTML report: its numbers are the store's, missing parts are named, and texts in rows are never
interpreted as HTML."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

import pairsmith
from pairsmith.receipts.outcome import CurateOutcome
from pairsmith.receipts.receipt import recording
from pairsmith.report import proof, render, sentences, write_report
from pairsmith.report.gather import gather
from pairsmith.report.proof import describe_difference, limits, method
from pairsmith.style.charts import learning_curve, loss_curve
from pairsmith.style.numbers import count, percent, points, row_sum
from schemas.errors import PairsmithError, TeacherError
from schemas.project import Project
from schemas.records import Artifact, Counts
from schemas.reviews import Review
from schemas.store import Store
from tests.pairsmith import report_project
from train.evaluation.intervals import Interval
from train.evaluation.metrics import MODES, Mode, ReferenceResult, SystemResult
from train.evaluation.results_table import SIMULTANEOUS_NOTE, comparison_lines
from train.evaluation.verdict import GATES_ONLY_NOTE, verdict
from train.learning_curve import in_words
from train.results import Step, Validation


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return report_project.project_in(tmp_path)


@pytest.fixture
def store(project: Project) -> Iterator[Store]:
    with Store.open(Store.url_for(project)) as store:
        yield store


@pytest.fixture
def done(project: Project, store: Store) -> Store:
    """A store in which all four stages have run."""
    report_project.generated(project, store)
    report_project.evaluated(
        project, store, report_project.trained(project, store, report_project.curated(project, store))
    )
    return store


class _Page(HTMLParser):
    """The text of a page, its tags with their attributes, and the rows of its tables."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.chunks: list[str] = []
        self.table_rows: list[list[str]] = []
        self._open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "tr":
            self.table_rows.append([])
        if tag in ("td", "th"):
            self.table_rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.chunks.append(data)
        if {"td", "th"} & set(self._open):
            self.table_rows[-1][-1] += data

    @property
    def text(self) -> str:
        return " ".join("".join(self.chunks).split())


def test_row_counts_are_those_of_the_receipts(project: Project, done: Store) -> None:
    """Each stage shows the row counts of its last receipt, and each reason with the receipt's count."""
    text = _flat(_Page(render(gather(project, done))).text)
    for command in ("generate", "curate"):
        receipt = done.receipts(command)[-1]
        assert receipt.counts.adds_up
        assert _flat(row_sum(receipt.counts.model_dump())) in text
        for word, number in receipt.reasons.items():
            assert f"{word}{count(number)}" in text
    curated = done.receipts("curate")[-1].counts
    assert curated.rejected > 0
    assert curated.accepted == len(done.artifacts("dataset")[-1].members)


def test_reasons_have_example_rows(project: Project, done: Store) -> None:
    """Every reason of curation has one to three examples with that reason; a failed row has no output."""
    evidence = gather(project, done)
    reasons = evidence.stage("curate").reasons
    assert {reason.word: reason.count for reason in reasons} == done.receipts("curate")[-1].reasons
    for reason in reasons:
        assert 1 <= len(reason.examples) <= 3
        assert all(example.detail.startswith(reason.word) for example in reason.examples)
        assert all((example.output is None) == (reason.outcome == "failed") for example in reason.examples)


def test_accepted_rows_are_shown_beside_the_rejected_ones(project: Project, done: Store) -> None:
    """Up to ten random accepted rows are shown in full, and the same ones in a second report."""
    evidence = gather(project, done)
    accepted = dict(done.artifacts("dataset")[-1].members)
    pairs = {pair.id: pair for pair in done.pairs(accepted)}
    assert len(evidence.accepted) == min(10, len(accepted))
    assert len({row.row_id for row in evidence.accepted}) == len(evidence.accepted)
    assert {row.row_id for row in evidence.accepted} != set(list(accepted)[:10]), (
        "the first ten rows are not a random sample"
    )
    text = _flat(_Page(render(evidence)).text)
    for row in evidence.accepted:
        assert (row.input, row.output) == (pairs[row.row_id].input, pairs[row.row_id].output)
        assert row.detail.startswith(accepted[row.row_id])
        assert _flat(row.output or "") in text
    assert gather(project, done).accepted == evidence.accepted


def test_histograms_cover_the_pool_and_the_accepted_rows(project: Project, done: Store) -> None:
    """The histograms count every pair and every score once; rows without a score are counted as missing, not drawn as
    zero."""
    evidence = gather(project, done)
    accepted = done.receipts("curate")[-1].counts.accepted
    assert evidence.lengths is not None
    assert evidence.scorer is not None
    assert f"Scored by {evidence.scorer.why} ({evidence.scorer.name})." in _Page(render(evidence)).text
    assert len(evidence.lengths.everything) == len(done.pairs())
    assert len(evidence.lengths.accepted) == len(evidence.scorer.scores.accepted) == accepted
    step = next(step for step in evidence.steps if step.name == evidence.scorer.name)
    assert len(evidence.scorer.scores.everything) == step.kept
    assert evidence.scorer.scores.missing == step.waiting


def test_the_headline_summarises_the_evaluation(project: Project, done: Store) -> None:
    """The headline has the pass rates of tuned and of the best system without training, and their difference as in the
    evaluation, sampled and greedy. It compared with the base even where a prompt did as well as tuned."""
    evidence = gather(project, done)
    evaluation = evidence.evaluation
    assert evaluation is not None
    page = render(evidence)
    head = re.search(r"<h1>(.*?)</h1>", page, re.DOTALL)
    assert head
    for mode in MODES:
        gap = evaluation.comparison("tuned", "few-shot", mode)
        assert gap
        assert gap.shown
        shares = [getattr(evaluation.system(name), mode).pass_rate for name in ("tuned", "few-shot")]
        for number in (*(percent(share.estimate) for share in shares), f"{points(gap.shown)} {mode}"):
            assert number in head[1]


def _unmeasured(system: SystemResult, *modes: Mode) -> SystemResult:
    """The system without a complete answer under these decodings, or under both."""
    results = {mode: getattr(system, mode) for mode in modes or MODES}
    return system.model_copy(update={mode: of.model_copy(update={"pass_rate": None}) for mode, of in results.items()})


def test_the_headline_has_the_strongest_rival_under_each_decoding(project: Project, done: Store) -> None:
    """A prompt whose greedy answers are all cut may be the best when it is sampled. Both decodings counted together, so
    the headline showed tuned's lead over a weaker prompt."""
    evaluation = gather(project, done).evaluation
    assert evaluation is not None
    base, few_shot, tuned = evaluation.systems
    of_few_shot = _unmeasured(few_shot, "greedy")
    assert base.sampled.pass_rate
    assert base.greedy.pass_rate
    high = base.greedy.pass_rate.model_copy(update={"estimate": 1.0})
    of_base = base.model_copy(update={"greedy": base.greedy.model_copy(update={"pass_rate": high})})
    line = proof.headline(evaluation.model_copy(update={"systems": (of_base, of_few_shot, tuned)}))
    pairs = (("few-shot", MODES[0]), ("base", MODES[1]))
    gaps = [evaluation.comparison("tuned", rival, mode) for rival, mode in pairs]
    assert "few-shot = teacher, without any training, passes all checks on" in line
    assert "; its base passes all checks on 100" in line
    assert all(gap and gap.shown and f"{points(gap.shown)} {gap.mode}" in line for gap in gaps)


def test_the_page_has_every_system_check_and_decoding(project: Project, done: Store) -> None:
    """Merged systems are shown under both names, each check has a row with every system, and greedy is beside
    sampled."""
    evidence = gather(project, done)
    evaluation = evidence.evaluation
    assert evaluation is not None
    page = _Page(render(evidence))
    assert ["check", "base", "few-shot = teacher", "tuned"] in page.table_rows
    for name in evaluation.check_names:
        shares = [percent(system.sampled.checks[name]) for system in evaluation.systems]
        shown = name.removeprefix("check:") + (" †" if name.startswith("check:") else "")
        assert [shown, *shares] in page.table_rows
    greedy = [row for row in page.table_rows if row and row[0] == "greedy"]
    assert len(greedy) == len(evaluation.systems)


def test_the_shown_answers_are_a_random_draw(project: Project, done: Store) -> None:
    """For every drawn input the page shows the first sampled answer of every system, good or bad, and the seed of the
    draw."""
    evidence = gather(project, done)
    evaluation = evidence.evaluation
    assert evaluation is not None
    page = _Page(render(evidence))
    assert f"drawn at random with seed {evaluation.side_by_side_seed}" in page.text
    drawn = {example.seed_id for example in evaluation.side_by_side}
    shown = [o for o in evaluation.outputs if o.seed_id in drawn and o.mode == "sampled" and o.sample == 0]
    assert len(shown) == len(drawn) * len(evaluation.systems)
    assert {output.all_pass for output in shown} == {True, False}
    for output in shown:
        assert output.text in page.text


@pytest.mark.parametrize(
    ("low", "high", "p", "seeds", "sentence"),
    [
        (0.02, 0.3, 0.01, 30, "more often"),
        (-0.3, -0.02, 0.01, 30, "less often"),
        (-0.1, 0.2, 0.4, 30, "no significant difference"),
        (0.02, 0.3, 0.08, 30, "no significant difference"),
        (-0.1, 0.2, 0.01, 30, "no significant difference"),
        (0.5, 0.9, 0.0001, 19, "not enough evidence"),
    ],
)
def test_a_difference_is_reported_in_either_direction(
    project: Project, done: Store, low: float, high: float, p: float, seeds: int, sentence: str
) -> None:
    """ "Better" and "worse" need the interval, the adjusted p-value and enough inputs; page and terminal agree. A small
    p-value beside "no significant difference" is explained. That there are too few inputs is not repeated for each
    system below the headline: the verdict says it."""
    evaluation = gather(project, done).evaluation
    assert evaluation is not None
    interval = Interval(estimate=(low + high) / 2, low=low, high=high, level=0.95, seeds=seeds)
    comparison = evaluation.comparisons[0].model_copy(update={"difference": interval, "p_value": p, "p_holm": p})
    assert sentence in describe_difference(evaluation, comparison)
    line = comparison_lines(evaluation.model_copy(update={"comparisons": (comparison,)}))[0]
    words = {"more often": "better", "less often": "worse", "no significant difference": "significant"}
    assert words.get(sentence, sentence) in line
    assert ("includes zero too" in line) == (low < 0 < high and p <= 0.05)
    below = proof.in_words(evaluation.model_copy(update={"comparisons": (comparison,)}))
    assert (below == []) == (sentence == "not enough evidence")
    if sentence == "not enough evidence":
        assert "more test input" in line
        assert "more test input" in describe_difference(evaluation, comparison)
    wide = comparison.model_copy(update={"simultaneous": interval.model_copy(update={"low": -0.4, "high": 0.4})})
    lines = comparison_lines(evaluation.model_copy(update={"comparisons": (wide,)}))
    assert (SIMULTANEOUS_NOTE in lines) == (words.get(sentence) in ("better", "worse"))


def test_the_reported_loss_is_that_of_the_kept_weights(project: Project, done: Store) -> None:
    """The weights with the lowest validation loss are kept; the last step's loss, which may be higher, belongs to other
    weights."""
    training = gather(project, done).training
    assert training is not None
    losses = [Validation(step=at, epoch=at / 10, loss=loss) for at, loss in ((0, 5.0), (20, 0.25), (30, 0.75))]
    risen = training.model_copy(update={"validation": tuple(losses), "kept_step": 20})
    assert "validation loss 5.00 to 0.25 at step 20, whose weights the adapter has." in sentences.curve(risen)
    assert "validation loss 5.00 to 0.75." in sentences.curve(risen.model_copy(update={"kept_step": None}))


def test_a_training_on_preferences_is_described_as_one(project: Project, done: Store) -> None:
    """Its preferences were counted as rows, and its loss was called one per answer token."""
    evidence = gather(project, done)
    assert evidence.training is not None
    for objective, words in (("dpo", "0.69 if the better answer"), ("orpo", "weighted loss of the preference")):
        settings = evidence.training.settings.model_copy(update={"objective": objective})
        training = evidence.training.model_copy(update={"settings": settings})
        page = render(replace(evidence, training=training))
        assert words in page
        assert "preferences trained on" in page
        assert "rows trained on" not in page
        assert "per answer token, in nats" not in page
    assert "rows trained on" in render(evidence)


def test_only_a_compared_reference_affects_the_verdict(project: Project, done: Store) -> None:
    """Where the exact match is no check, as in a translation, the page does not suggest that it decides anything."""
    evaluation = gather(project, done).evaluation
    assert evaluation is not None
    exact = evaluation.model_copy(update={"check_names": ("label", "check:reference")})
    assert proof.references(exact).endswith("The other measures do not affect the verdict.")
    assert proof.references(evaluation).endswith("These measures do not affect the verdict.")


def test_a_label_without_a_test_input_is_named_beside_its_measures(project: Project, done: Store) -> None:
    """An evaluation whose macro F1 is 1.00 says in the report too that one of the labels was not tested."""
    evaluation = gather(project, done).evaluation
    assert evaluation is not None
    tuned = evaluation.system("tuned")
    assert tuned.sampled.pass_rate
    by_reference = ReferenceResult(inputs=20, exact=tuned.sampled.pass_rate, untested=("legal",))
    measured = tuned.model_copy(update={"sampled": tuned.sampled.model_copy(update={"by_reference": by_reference})})
    shown = evaluation.model_copy(update={"systems": (measured,)})
    assert "No test input has the label legal: macro F1 is the mean of the others" in proof.references(shown)


def test_passing_by_form_alone_is_pointed_out(project: Project, done: Store) -> None:
    """The report and the service's page say so if any label of the task would have passed."""
    words = pytest.importorskip("pairsmith.serve.pages.words", reason="the service needs the serve extra")
    evaluation = gather(project, done).evaluation
    assert evaluation is not None
    for names, of_form in ((("length", "label"), True), (("label", "check:reference"), False)):
        judged = evaluation.model_copy(update={"check_names": names})
        assert "".join(proof.in_words(judged)).startswith("Any answer in the right form passes") == of_form
        heading = words.evaluation(judged, verdict(judged))
        assert not of_form or heading.startswith(("Not enough evidence", "Do not ship")), heading


def test_the_page_states_the_assumptions_of_its_intervals(project: Project, done: Store) -> None:
    """Related inputs carry less evidence than their number suggests, which the answers do not show. If groups are
    known, the page says how many there are, and that more groups are needed."""
    evidence = gather(project, done)
    evaluation = evidence.evaluation
    assert evaluation is not None
    assert "for parts of one document or mails of one thread the intervals are too narrow" in method(evaluation)
    groups = {output.seed_id: "a thread" for output in evaluation.outputs}
    of_one = evaluation.model_copy(update={"groups": groups, "seeds": len(groups) + 2})
    assert "treat each of the 3 groups of inputs as one unit" in method(of_one)
    assert "too narrow" not in method(of_one)
    figures = {name: detail for name, _, detail in sentences.key_figures(replace(evidence, evaluation=of_one))}
    assert figures["held-out inputs"] == f"of 3 groups, {evaluation.samples} samples each"
    gap = evaluation.comparisons[0]
    assert gap.difference is not None
    few = gap.model_copy(update={"difference": gap.difference.model_copy(update={"seeds": 4})})
    assert few.more_inputs
    assert " of other groups would" in describe_difference(of_one, few)
    assert " of other groups" not in describe_difference(evaluation, few)


def test_an_unmeasured_comparison_is_not_called_equal(project: Project, done: Store) -> None:
    """A comparison with a system that gave no complete answer is "not measured", and the page still renders."""
    evidence = gather(project, done)
    evaluation = evidence.evaluation
    assert evaluation is not None
    none = [one.model_copy(update={"difference": None, "p_value": None}) for one in evaluation.comparisons]
    unmeasured = evaluation.model_copy(update={"comparisons": tuple(none)})
    page = render(replace(evidence, evaluation=unmeasured))
    assert "was not measured" in page
    assert "no significant difference" not in page
    systems = (*(_unmeasured(of) for of in evaluation.systems[:-1]), evaluation.systems[-1])
    page = render(replace(evidence, evaluation=unmeasured.model_copy(update={"systems": systems})))
    assert "its base was not measured" in page
    assert "no evaluation yet" not in page
    assert all(line.endswith("not measured") for line in comparison_lines(unmeasured)[: len(none)])


def test_a_difference_in_decoding_is_reported(project: Project, done: Store) -> None:
    """If the teacher was decoded as in generation, the page says so, with the settings, and no longer says that all are
    decoded in the same way."""
    evidence = gather(project, done)
    assert evidence.evaluation is not None
    assert "All are decoded in the same way" in render(evidence)
    adapter = done.artifacts("adapter")[-1].id
    trained = SimpleNamespace(adapter_id=adapter)
    (project.folder / "evaluations" / "one.json").unlink()
    separate = report_project.evaluated(project, done, trained, merged=False)  # type: ignore[arg-type]
    page = render(replace(evidence, evaluation=separate))
    assert "They are decoded differently" in page
    assert "top_k 50 (as in generation)" in page
    assert "All are decoded in the same way" not in page
    assert any("decodings differ" in line for line in comparison_lines(separate))


def test_an_evaluation_of_an_earlier_version_is_shown(project: Project, done: Store) -> None:
    """Its file still loads; rates and differences are recomputed from the answers in it."""
    path = project.folder / "evaluations" / "one.json"
    now = gather(project, done).evaluation
    assert now is not None
    old = json.loads(path.read_bytes())
    old["resamples"], old["checks_scope"] = 500, old.pop("checks_fingerprint")
    old["rungs"] = old.pop("systems")
    for output in old["outputs"]:
        output["rung"], output["strict"] = output.pop("system"), output.pop("all_pass")
    for rung in old["rungs"]:
        rung["system"] = rung.pop("system_prompt")
        for key in ("decoding", "sampling", "greedy_sampling"):
            del rung[key]
        for mode in MODES:
            rate = rung[mode].pop("pass_rate")
            rung[mode]["strict"] = rate | {"method": "bootstrap", "low": rate["estimate"]}
    for one in old["comparisons"]:
        del one["p_value"], one["p_holm"]
        one["difference"] |= {"method": "bootstrap", "low": 0.9}
    first = old["outputs"][-1]
    old["comparisons"].append({**old["comparisons"][0], "a": "few-shot", "b": "base"})
    path.write_text(json.dumps(old))
    shown = gather(project, done).evaluation
    assert shown is not None
    assert first["key"] == shown.outputs[-1].key
    assert shown.comparisons == now.comparisons
    assert shown.systems[-1].sampled.pass_rate == now.systems[-1].sampled.pass_rate
    assert "Systems on held-out inputs" in render(gather(project, done))


def test_a_text_is_escaped(project: Project, done: Store) -> None:
    """A seed that contains a script and a template tag appears on the page as text."""
    page = render(gather(project, done))
    assert "<script" not in page
    assert "&lt;script&gt;alert(&#39;seed&#39;)&lt;/script&gt;" in page
    assert "{{ 7 * 7 }}" in _Page(page).text


def test_the_page_loads_nothing(project: Project, done: Store) -> None:
    """No tag loads anything and the style sheet has no URL, so the page works offline and contacts no server."""
    page = render(gather(project, done))
    loading = {"script", "link", "img", "iframe", "object", "embed", "source", "video", "audio", "use", "image"}
    parsed = _Page(page)
    assert not loading & {tag for tag, _ in parsed.tags}
    assert not [attrs for _, attrs in parsed.tags if {"src", "srcset", "xlink:href", "style", "onclick"} & attrs.keys()]
    assert not re.search(r"https?://|url\(|@import|@font-face", page)


def test_the_learning_curve_is_plotted(project: Project, store: Store) -> None:
    """A dot for each training, a line through the mean of each share, a band as wide as the noise floor, and the
    conclusions as alternative text; the axis of a pass rate goes from 0 to 1."""
    report_project.generated(project, store)
    adapter = report_project.trained(project, store, report_project.curated(project, store))
    curve = report_project.with_curve(project, store, adapter)
    parsed = _Page(render(gather(project, store)))
    (label,) = [
        attrs["aria-label"] or ""
        for tag, attrs in parsed.tags
        if tag == "svg" and "Noise floor" in (attrs.get("aria-label") or "")
    ]
    assert all(f"{line[0].upper()}{line[1:]}." in label for line in in_words(curve))
    drawn = _Page(str(learning_curve(curve, label))).tags
    dots = [attrs for tag, attrs in drawn if tag == "circle"]
    assert [(dot["cx"], float(dot["cy"] or 0)) for dot in dots[-2:]] == [
        ("100%", pytest.approx(206 - 198 * 27 / 40, abs=0.01)),
        ("100%", pytest.approx(206 - 198 * 29 / 40, abs=0.01)),
    ]
    assert len(dots) == 6
    (line,) = [attrs["points"] or "" for tag, attrs in drawn if tag == "polyline"]
    assert line.split()[-1] == "1000,300"
    (band,) = [attrs for tag, attrs in drawn if tag == "rect"]
    assert float(band["height"] or 0) == pytest.approx(198 * 2 * curve.floor, abs=0.02)
    # The axis of a loss ends above the band, which its greatest loss had cut off.
    points = tuple(point.model_copy(update={"loss": 2.0}) for point in curve.points)
    of_loss = curve.model_copy(update={"of": "loss", "points": points, "run_sd": 0.1})
    drawn = _Page(str(learning_curve(of_loss, label))).tags
    (band,) = [attrs for tag, attrs in drawn if tag == "rect"]
    dot = [attrs for tag, attrs in drawn if tag == "circle"][-1]
    middle = float(band["y"] or 0) + float(band["height"] or 0) / 2
    assert middle == pytest.approx(float(dot["cy"] or 0), abs=0.02)


def test_optimizer_steps_are_whole_numbers_on_the_axis() -> None:
    """A training of a few steps has no tick at 2.5 steps."""
    losses = [Step(step=number, epoch=1.0, loss=2.0 - number / 20, learning_rate=1e-4) for number in range(1, 13)]
    below = loss_curve(losses, [], "loss").partition('anchor="start"')[2]  # the first tick of the horizontal axis
    assert re.findall(r">([\d.]+)</text>", below) == ["0", "5", "10"]


def test_charts_and_tables_are_accessible(project: Project, done: Store) -> None:
    """Every chart that is not decoration has a text alternative, and every header cell a scope."""
    parsed = _Page(render(gather(project, done)))
    charts = [attrs for tag, attrs in parsed.tags if tag == "svg" and attrs.get("class")]
    assert charts
    assert all(attrs.get("aria-label") or attrs.get("aria-hidden") == "true" for attrs in charts)
    assert all(attrs.get("scope") for tag, attrs in parsed.tags if tag == "th")
    assert ("html", {"lang": "en"}) in parsed.tags


@pytest.mark.parametrize("ran", [0, 1, 2, 3])
def test_a_stage_that_has_not_run_says_so(project: Project, store: Store, ran: int) -> None:
    """At any stage of the pipeline all nine sections exist, and those without data name the command to run."""
    if ran > 0:
        report_project.generated(project, store)
    if ran > 1:
        curation = report_project.curated(project, store)
    if ran > 2:
        report_project.trained(project, store, curation)
    page = render(gather(project, store))
    assert re.findall(r'<section id="(\w+)"', page) == [
        *("rows", "set", "training", "systems", "answers", "next", "cost", "limits", "provenance")
    ]
    absent = {
        command: f"Run <code>pairsmith {command}</code> to fill this section" in page
        for command in ("generate", "curate", "train", "evaluate")
    }
    assert list(absent.values()) == [place >= ran for place in range(4)]


def test_missing_figures_are_dashes(project: Project, store: Store) -> None:
    """Before anything has run the four figures at the top are dashes, not zeros."""
    page = render(gather(project, store))
    figures = re.search(r'<dl class="figures">(.*?)</dl>', page, re.DOTALL)
    assert figures
    assert re.findall(r"<dd>(.*?)<small>", figures[1]) == ["—"] * 4


def test_a_failed_command_is_shown_beside_the_last_success(project: Project, done: Store) -> None:
    """A failed command is not hidden by an earlier success, and the earlier numbers stay."""

    def fail_while_recording() -> None:
        with recording(project, done, "curate", CurateOutcome()) as record:
            record.outcome = CurateOutcome(counts=Counts(rows_in=3, waiting=3))
            raise TeacherError("the scorer's endpoint is gone.", fix="Start it again.")

    with pytest.raises(TeacherError):
        fail_while_recording()
    evidence = gather(project, done)
    good = next(receipt for receipt in done.receipts("curate") if receipt.ok)
    assert evidence.stage("curate").counts == good.counts
    assert "The last pairsmith curate did not finish: the scorer's endpoint is gone." in _Page(render(evidence)).text


def test_only_rows_without_a_certificate_are_said_to_carry_none(project: Project, done: Store) -> None:
    """The last section said so of certified rows too, a few sections below their certificate."""
    evidence = gather(project, done)
    assert "carry no certificate" in " ".join(sentences.limits(evidence))
    assert "carry no certificate" not in " ".join(sentences.limits(replace(evidence, certificate={"valid": True})))


def test_missing_files_are_reported(project: Project, done: Store) -> None:
    """An evaluation whose file was deleted is not called 'not run', and a missing curve leaves the other facts."""
    (project.folder / "evaluations" / "one.json").unlink()
    (project.folder / "adapters" / "one" / "training.json").unlink()
    text = _Page(render(gather(project, done))).text
    assert "Evaluation has run, but its output files are missing." in text
    assert "The evaluation's files are missing, so nothing here shows" in text
    assert "The curve is missing" in text
    assert "4,884,480 trainable parameters" in text


def test_a_damaged_evaluation_is_a_clear_error(project: Project, done: Store) -> None:
    """The error names the file and says to delete it."""
    (project.folder / "evaluations" / "one.json").write_text('{"id": 3}')
    with pytest.raises(PairsmithError, match=r"one\.json.*Delete the file"):
        gather(project, done)


def test_human_and_simulated_reviews_are_distinguished(project: Project, done: Store) -> None:
    """'Not reviewed by humans' is shown until a person has reviewed; a simulated reviewer does not count."""
    pair = done.pairs()[0]
    done.write(Review(pair_id=pair.id, reviewer="robot", decision="accept", simulated=True))
    page = _Page(render(gather(project, done))).text
    assert "Not reviewed by humans: nobody has judged these rows. 1 simulated decisions" in page
    done.write(Review(pair_id=pair.id, reviewer="ada", decision="accept"))
    assert "1 person reviewed 1 row in 1 decision." in _Page(render(gather(project, done))).text


def test_answers_that_no_longer_stand_are_not_reported_as_decisions(project: Project, done: Store) -> None:
    """An answer that was changed is one decision, and one that was withdrawn is none."""
    first, second = done.pairs()[:2]
    done.write(Review(pair_id=first.id, reviewer="ada", decision="accept"))
    done.write(Review(pair_id=first.id, reviewer="ada", decision="reject"))
    done.write(Review(pair_id=second.id, reviewer="bob", decision="accept"))
    done.write(Review(pair_id=second.id, reviewer="bob", decision="withdrawn"))
    assert "1 person reviewed 1 row in 1 decision." in _Page(render(gather(project, done))).text


def test_the_report_shows_the_present_evaluation(project: Project, done: Store) -> None:
    """If the last run reused an older evaluation, the report shows that one and not the newest."""
    shown = gather(project, done).evaluation
    assert shown is not None
    done.write(Artifact(id="another", kind="evaluation", path="evaluations/another.json"))
    assert gather(project, done).evaluation == shown


def test_costs_are_those_of_the_ledger(project: Project, done: Store) -> None:
    """Tokens, requests and dollars on the page are the call ledger's totals."""
    spent = done.spent()
    usage, usd, requests = spent.usage, spent.usd, spent.requests
    text = _Page(render(gather(project, done))).text
    sentence = f"The ledger holds {requests} requests: {usage.prompt_tokens:,} prompt tokens"
    assert sentence in text
    assert f"${usd:.4f}" in text


def test_the_report_is_written_to_the_given_path(project: Project, done: Store, tmp_path: Path) -> None:
    """`write_report` returns the path of the file; a folder at that path is a clear error."""
    out = write_report(project, done, tmp_path / "out" / "report.html")
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(PairsmithError, match="cannot be written"):
        write_report(project, done, tmp_path)


def _flat(text: str) -> str:
    return " ".join(text.split())


def test_without_an_independent_check_the_report_says_so(project: Project, done: Store) -> None:
    """If only gates judged the answers, the page says so at its head, and the verdict among its reasons."""
    evaluation = gather(project, done).evaluation
    assert evaluation is not None
    assert not any("independent" in sentence for sentence in limits(evaluation))
    assert not any("independent" in line for line in (*proof.in_words(evaluation), *verdict(evaluation).because))
    gates = tuple(name for name in evaluation.check_names if not name.startswith("check:"))
    alone = evaluation.model_copy(update={"check_names": gates})
    everywhere = (*limits(alone), *proof.in_words(alone), *verdict(alone).because)
    assert sum("independent check" in line for line in everywhere) == 1
    assert GATES_ONLY_NOTE in verdict(alone).because


def test_the_report_removes_personal_data(tmp_path: Path) -> None:
    """A report is exported and shared: an address for which the gate `pii` rejected a row appears neither in the row's
    text nor in the reason that quotes it; the rest of the row does."""
    rows = [("Where is it?", "Ask ann.onymous@example.org about the van."), ("Is it red?", "It is red and fast.")]
    lines = [json.dumps({"input": asked, "output": answer}) + "\n" for asked, answer in rows]
    (tmp_path / "own.jsonl").write_text("".join(lines), encoding="utf-8")
    spec = '[task]\nkind = "free"\nname = "own"\nstyle = "Kind."\n[[seeds]]\npath = "own.jsonl"\nkind = "pair"\n'
    spec += "[split]\ntest = 0.0\nvalidation = 0.0\n[curate.gates]\npii = true\n"
    (tmp_path / "pairsmith.toml").write_text(spec, encoding="utf-8")
    project = pairsmith.Project(tmp_path)
    project.generate()
    assert project.curate().reasons == {"pii_email": 1}
    project.report()
    for name in ("report.html", "evidence.json"):
        page = (tmp_path / name).read_text(encoding="utf-8")
        assert "ann.onymous" not in page
        assert "(e-mail address removed) about the van." in page


def test_nothing_is_said_of_a_teacher_where_there_was_none(project: Project, done: Store) -> None:
    """Of imported pairs the page says that they were read. It had said that they were generated and that a teacher's
    tokens include unused attempts, and had listed base and tuned model as teachers."""
    evidence = gather(project, done)
    evaluation = evidence.evaluation
    assert evaluation is not None
    few_shot = evaluation.system("few-shot").model_copy(update={"names": ("few-shot",)})
    systems = tuple(few_shot if of.name == "few-shot" else of for of in evaluation.systems)
    evaluation = evaluation.model_copy(update={"systems": systems})
    hashes = tuple((name, value) for name, value in evidence.hashes if name != "teacher")
    costs = tuple(cost.model_copy(update={"stage": "evaluate", "teacher": "base"}) for cost in evidence.costs)
    evidence = replace(evidence, evaluation=evaluation, verdict=verdict(evaluation), hashes=hashes, costs=costs * 2)
    generated = evidence.counts("generate")
    assert generated is not None
    page = render(replace(evidence, seeds={"pair": generated.rows_in, "input": 12}))  # a test file without references
    assert "Import: one row for each pair" in page
    assert "teacher" not in page.lower()


def test_a_task_with_one_right_answer_is_not_judged_by_form(project: Project, done: Store) -> None:
    """Where matching the reference is a check, the page does not say that checks test form and not meaning."""
    evidence = gather(project, done)
    assert evidence.evaluation is not None
    exact = evidence.evaluation.model_copy(update={"check_names": ("label", "check:reference")})
    assert "Gates and checks test form" in render(evidence)
    page = render(replace(evidence, evaluation=exact))
    assert "Gates and checks test form" not in page
    assert "a wrong or debatable reference fails a good answer" in page

"""Tests of `pairsmith certify` on a project of existing pairs: reviews in the store, a certificate, and what
invalidates it."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, event

import pairsmith
from curate.preferences import Preference, rests_on_estimates
from curate.review.population import read_population
from curate.review.sampling import in_estimation_half
from pairsmith import certified
from pairsmith.commands import rows, serve_model, start
from pairsmith.commands.stage import command_of
from pairsmith.erasing import erased
from pairsmith.plan import plan
from pairsmith.stages.certify import certify
from pairsmith.stages.review import argilla
from pairsmith.stages.train_reward import train_reward
from pairsmith.stages.what_if import what_if
from pairsmith.teachers import teachers
from schemas import spec_file
from schemas.errors import MissingDependency, NoWork, PairsmithError
from schemas.progress import discard_message
from schemas.project import Project
from schemas.reviews import Draw, Review, Sampled
from schemas.store import Store
from tests.pairsmith import conftest, own_pairs
from tests.pairsmith.own_pairs import ROWS, answer, good


@pytest.fixture(scope="module")
def curated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curated")
    own_pairs.curated(folder)
    return folder


@pytest.fixture
def folder(curated: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(curated, tmp_path / "project"))


def _project(folder: Path, *overrides: str) -> Project:
    return spec_file.load(folder, overrides)


def _certify(folder: Path, *overrides: str, **more: Any) -> tuple[Any, Any]:
    """Returns the outcome, and the last certification as status shows it right afterwards."""
    project = _project(folder, *overrides)
    with Store.open(Store.url_for(project)) as store:
        return certify(project, store, **more), certified.last_certification(project, store)


def test_a_certificate_lists_rows_of_the_promised_precision(folder: Path) -> None:
    """First there is no certificate, with advice on what would change that; then one whose rows are listed and good.
    Its counts add up, and status and export show it."""
    with pytest.raises(NoWork, match="no row has been reviewed") as before:
        _certify(folder)
    assert before.value.fix == "`pairsmith review push` sends rows to reviewers."
    answer(folder)
    early, state = _certify(folder)
    assert early.words.startswith("no certificate: ")
    assert not early.artifact_id
    assert state["words"] == early.words
    assert not (folder / "certificate.json").exists()
    answer(folder, 2)
    outcome, state = _certify(folder)
    assert outcome.words.startswith("auto-accept ")
    assert outcome.counts.adds_up
    assert outcome.counts.rows_in == ROWS
    certificate = json.loads((folder / "certificate.json").read_text(encoding="utf-8"))
    assert len(certificate["rows"]) == outcome.counts.accepted
    assert certificate["id"] == outcome.artifact_id
    assert state == {"words": outcome.words, "id": outcome.artifact_id, "holds": True, "why": "", "answers_since": 0}
    with Store.open(Store.url_for(_project(folder)), write=False) as store:
        pairs = store.pairs(certificate["rows"])
        (artifact,) = store.artifacts("certificate")
    assert sum(good(pair.output) for pair in pairs) >= 0.9 * len(pairs)
    assert {id_ for id_, _ in artifact.members} == set(certificate["rows"])
    exported = pairsmith.Project(folder).export()
    assert exported.certificate["holds"]
    assert (folder / "export" / "certificate.json").is_file()


def test_without_the_extra_review_a_certification_says_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A colleague who installed the base package opens a reviewed project: this was a traceback."""
    answer(folder, 2)
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    with pytest.raises(MissingDependency, match="needs the package scipy") as missing:
        _certify(folder)
    assert missing.value.fix == "Install it: pip install 'pairsmith[review]'"


def test_without_the_extra_review_no_server_is_installed(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run without the extra used to download and start a server (0.6 GB), and then said that a package is missing.
    `review up` still did."""
    home = tmp_path / "argilla"
    home.mkdir()
    (home / "venv").touch()  # nothing could be installed here
    monkeypatch.setenv("PAIRSMITH_ARGILLA_HOME", str(home))
    monkeypatch.setitem(sys.modules, "argilla", None)
    with pytest.raises(MissingDependency, match="review needs argilla"), argilla(_project(folder)):
        pass
    assert start(["review", "up", "--project", str(folder)]) == 7
    assert [path.name for path in home.iterdir()] == ["venv"]


def test_no_server_is_started_for_a_project_that_names_another(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`review up` installed and started a server that the project would never have used."""
    monkeypatch.setenv("PAIRSMITH_ARGILLA_HOME", str(tmp_path / "argilla"))
    url = "http://127.0.0.1:9"
    named = ("--set", f"review.url={url}", "--set", "review.key_env=ARGILLA_KEY")
    assert start(["review", "up", "--project", str(folder), *named]) == 2
    assert f"this project is reviewed on {url}, and a server started here would not be used" in capsys.readouterr().err
    assert not (tmp_path / "argilla").exists()


def test_a_certificate_is_invalidated_by_what_shapes_rows_only(folder: Path) -> None:
    """With another gate, status and export say that the certificate no longer holds, before and after curation. Another
    learning rate, split, task name or selection among the certified rows does not invalidate it, as the page on method
    says. Setting `certified` in the spec used to invalidate it."""
    answer(folder, 3)
    outcome, _ = _certify(folder)
    assert outcome.artifact_id
    url = Store.url_for(_project(folder))
    for *overrides, holds in (
        ("train.learning_rate=1e-3", True),
        ("curate.select.certified=true", True),
        ("curate.select.rows=100", "split.test=0.3", "task.name=other", True),
        ("curate.select.certified=true", "curate.gates.length.max_words=50", False),
        ("curate.gates.length.max_words=50", False),
    ):
        with Store.open(url) as store:
            state = certified.last_certification(_project(folder, *overrides), store)
        assert state is not None
        assert state["holds"] is holds, state["why"]
    pairsmith.Project(folder, ["curate.gates.length.max_words=50"]).curate()
    with Store.open(url) as store:
        state = certified.last_certification(_project(folder, "curate.gates.length.max_words=50"), store)
    assert state is not None
    assert not state["holds"]
    assert state["why"] == "gates has changed since"
    exported = pairsmith.Project(folder, ["curate.gates.length.max_words=50"]).export()
    assert not exported.certificate["holds"]
    assert not (folder / "export" / "certificate.json").exists()


def test_after_a_push_the_advice_is_to_pull(folder: Path) -> None:
    """After a push and before the first review, reviews are missing, and a pull fetches them."""
    project = _project(folder)
    with Store.open(Store.url_for(project)) as store:
        (first, *_) = store.pairs()
        store.write(Sampled(pair_id=first.id, reason="fit", sampling_probability=1, dataset="queue"))
    with pytest.raises(NoWork, match="no row has been reviewed") as waiting:
        _certify(folder)
    assert "`pairsmith review pull`" in (waiting.value.fix or "")


def test_calibration_and_certificate_use_reviews_of_different_rows(folder: Path) -> None:
    """No row of the estimation half influences P(good), however it is reviewed."""
    answered = answer(folder, 3)
    first, _ = _certify(folder)
    project = _project(folder)
    halves = [in_estimation_half(project.spec.review.seed, id_) for id_ in answered]
    assert 100 < first.certificate["labels"] <= sum(halves)
    assert 20 < first.certificate["calibrated_on"] <= len(halves) - sum(halves)
    with Store.open(Store.url_for(project)) as store:
        for id_, of_estimation in zip(answered, halves, strict=True):
            if of_estimation:
                store.write(Review(pair_id=id_, reviewer="argilla:here/1", decision="reject"))
    second, _ = _certify(folder, precision=0.85)
    assert second.certificate["calibrator"] == first.certificate["calibrator"]
    assert second.words.startswith("no certificate: ")
    assert "more than 15%" in second.words


def test_rows_drawn_before_there_were_halves_do_not_calibrate(folder: Path) -> None:
    """The message says why, and that half of the rows could not prove the requirement only if that is so."""
    project = _project(folder)
    with Store.open(Store.url_for(project)) as store:
        population = read_population(project, store, teachers.fingerprints_of(project, discard_message))
        drawn = Draw(seed=0, population=len(population.rows), size=60, frame="f" * 32)
        for id_ in [id_ for id_, row in population.rows.items() if row.passed][:60]:
            place = {"dataset": "own", "sampling_probability": 0.2}
            store.write(Sampled(pair_id=id_, reason="certify", draw=drawn, **place))
            store.write(Review(pair_id=id_, reviewer="argilla:here/1", decision="accept"))
    words = _certify(folder)[0].words
    assert "none is left to estimate P(good). Rows of both halves were drawn before" in words
    nearly_all = _certify(folder, "review.accept_at_least=0.99")[0].words
    assert "Half of them could not prove what review.accept_at_least asks for" in nearly_all


def test_a_row_used_as_an_exemplar_is_not_certified(folder: Path) -> None:
    """A reviewed row that was copied into the spec is neither among the certified rows nor among the labels."""
    answered = answer(folder, 3)
    first, _ = _certify(folder)
    project = _project(folder)
    own = [id_ for id_ in answered if in_estimation_half(project.spec.review.seed, id_)]
    with Store.open(Store.url_for(project), write=False) as store:
        (pair,) = store.pairs(own[:1])
    spec = (folder / "pairsmith.toml").read_text(encoding="utf-8")
    exemplar = f"\n[[exemplars]]\ninput = {json.dumps(pair.input)}\noutput = {json.dumps(pair.output)}\n"
    (folder / "pairsmith.toml").write_text(spec + exemplar, encoding="utf-8")
    own_project = pairsmith.Project(folder)
    own_project.generate()
    own_project.curate()
    second, _ = _certify(folder)
    assert second.certificate["considered"] == first.certificate["considered"] - 1
    assert second.certificate["labels"] == first.certificate["labels"] - 1


def test_a_reward_model_gets_no_reviews_of_the_estimation_half(folder: Path) -> None:
    """No preference that depends on a review in the estimation half is used for training."""
    answered = answer(folder, 3)
    project = _project(folder)
    with Store.open(Store.url_for(project), write=False) as store:
        pairs = {pair.id: pair for pair in store.pairs(answered)}
    every = [Preference("verdict", "train", pairs[a], pairs[b], None, (a, b)) for a, b in itertools.pairwise(answered)]
    left = [one for one in every if not rests_on_estimates(one, project.spec.review.seed)]
    assert 0 < len(left) < len(every)
    assert not any(in_estimation_half(project.spec.review.seed, id_) for p in left for id_ in p.rests_on)


def test_a_reward_model_without_preferences_loads_no_base(folder: Path) -> None:
    """A training that must be refused is refused before gigabytes of a base are downloaded."""
    project = _project(folder, "train.base=nobody/such-a-base")
    with (
        Store.open(Store.url_for(project)) as store,
        pytest.raises(NoWork, match="there are 0 preferences of 0 inputs"),
    ):
        train_reward(project, store)


def test_repeating_a_certification_is_no_further_trial(folder: Path) -> None:
    """The same certification is the same trial; another precision is a further trial, with a smaller error
    allowance."""
    answer(folder, 3)
    first, _ = _certify(folder)
    again, _ = _certify(folder)
    other, _ = _certify(folder, precision=0.8)
    assert first.certificate == again.certificate
    assert [o.certificate["trial"] for o in (first, again, other)] == [1, 1, 2]


def test_curation_without_a_certificate_says_how_to_get_one(folder: Path) -> None:
    """If `certified` is set too early no row is left: the error counts the waiting rows and names the commands."""
    with pytest.raises(NoWork, match=r"uncertified \d+.*review push.*pairsmith certify"):
        pairsmith.Project(folder, ["curate.select.certified=true"]).curate()


def test_a_certificate_holds_before_curation_has_used_it(folder: Path) -> None:
    """Curation had nothing to accept, rows were reviewed and certified: the certificate holds."""
    asked = ["curate.select.certified=true"]
    with pytest.raises(NoWork):
        pairsmith.Project(folder, asked).curate()
    answer(folder, 3)
    outcome, state = _certify(folder, *asked)
    assert outcome.artifact_id
    assert state["holds"], state["why"]


def test_a_run_stops_before_training_until_a_certificate_holds(folder: Path) -> None:
    """With `certified` set, reviews alone do not lead to training: the run counts the waiting rows and names the
    command. Once a certificate holds the run continues; if it no longer holds the run stops again."""
    answer(folder, 3)
    asked = ["curate.select.certified=true", "train.base=not-there"]
    stopped = pairsmith.Project(folder, asked).run()
    assert (stopped.gate, stopped.stages) == ("uncertified", ("curate", "review"))
    waiting = f"{stopped.reasons['uncertified']:,} rows wait for a certificate"
    assert stopped.waits == f"{waiting}; run `pairsmith certify`"
    assert (folder / "report.html").is_file()
    shown = conftest.Project(folder).run("run", *(word for text in asked for word in ("--set", text)))
    assert shown.returncode == 11, shown.stderr
    assert "nothing is trained" in shown.stdout
    typed = "--set curate.select.certified=true --set train.base=not-there"
    assert f"`pairsmith certify {typed}`, then `pairsmith run {typed}`" in shown.stdout
    outcome, _ = _certify(folder, *asked)
    assert outcome.artifact_id
    with pytest.raises(PairsmithError, match="not-there"):
        pairsmith.Project(folder, asked).run()
    (folder / "certificate.json").unlink()
    again = pairsmith.Project(folder, asked).run()
    assert (again.gate, again.stages) == ("uncertified", ())
    assert str(again.waits).endswith("the last one no longer holds (certificate.json is missing)")


def test_a_run_repeats_why_nothing_was_certified(folder: Path) -> None:
    """With too few reviews the run repeats the message of `certify`, which says what would change that."""
    answer(folder)
    early, _ = _certify(folder)
    assert not early.artifact_id
    stopped = pairsmith.Project(folder, ["curate.select.certified=true", "review.accept_at_least=0.1"]).run()
    assert stopped.gate == "uncertified"
    assert str(stopped.waits).endswith(early.words)


def test_what_if_uses_the_certificate(folder: Path) -> None:
    """`curate --what-if curate.select.certified=true` shows what curation would then do."""
    answer(folder, 3)
    outcome, _ = _certify(folder)
    assert outcome.artifact_id
    only_certified = ["curate.select.certified=true"]
    with Store.open(Store.url_for(_project(folder)), write=False) as store:
        compared = what_if(_project(folder), store, only_certified)
    assert compared.after == pairsmith.Project(folder, only_certified).curate().counts


@pytest.mark.parametrize(
    ("answers", "since"),
    [(0, ""), (1, " (1 review since)"), (12, " (12 reviews since)"), (-1, " (1 review was erased since)")],
)
def test_a_certificate_says_how_many_reviews_have_changed_since(answers: int, since: str) -> None:
    """One review is not called reviews; a void certificate says why instead."""
    state = {"words": "9 rows are certified", "id": "a", "holds": True, "why": "", "answers_since": answers}
    assert certified.in_lines(state) == [("certified", f"9 rows are certified{since}")]
    ((_, void),) = certified.in_lines(state | {"holds": False, "why": "certificate.json is missing"})
    assert void.startswith("The certificate is no longer valid: certificate.json is missing. ")


@pytest.mark.parametrize(("effective", "end"), [(250.2, "as 250 labels alone."), (1_973.0, "and P(good).")])
def test_labels_of_more_rows_than_there_are_are_not_mentioned(effective: float, end: str) -> None:
    """The estimated share of good rows is compared with that of more labels alone, unless these were labels of more
    rows than the project has."""
    share = {"rows": 323, "labels": 172, "effective": effective, "value": 0.9, "low": 0.88, "high": 0.92}
    assert certified.share_in_words({"share": {**share, "confidence": 0.9}}).endswith(end)


def test_disagreement_withdraws_a_certificate_and_adjudication_restores_it(folder: Path) -> None:
    """The message says that the earlier certificate is withdrawn, why, and that settling the rows brings it back."""
    answered = answer(folder, 3)
    first, _ = _certify(folder)
    assert first.artifact_id
    with Store.open(Store.url_for(_project(folder))) as store:
        accepted = {id_ for id_, reviews in store.reviews(answered).items() if reviews[0].decision == "accept"}
        for id_ in answered:
            store.write(Review(pair_id=id_, reviewer="bob", decision="reject" if id_ in accepted else "accept"))
    outcome, state = _certify(folder)
    assert not (folder / "certificate.json").exists()
    assert "they count as bad until an adjudicator decides" in outcome.words
    assert re.search(
        r"If all of these are good, [\d,]+ are accepted\. The earlier certificate is withdrawn\.$", outcome.words
    )
    assert state["words"] == outcome.words
    with Store.open(Store.url_for(_project(folder))) as store:
        for id_ in answered:
            decision: Any = "accept" if id_ in accepted else "reject"
            store.write(Review(pair_id=id_, reviewer="eve", decision=decision, role="adjudicator"))
    again, _ = _certify(folder)
    assert again.counts.accepted == first.counts.accepted
    assert "settle nothing" not in again.words
    assert "withdrawn" not in again.words


def test_a_certificate_counts_rejected_rows_that_a_gate_has_rejected_since(folder: Path) -> None:
    """A gate written for the very rows that reviewers rejected would make the rest of the sample look better than the
    pool is. The result says how many rows are concerned and what to do; a gate for other rows is not mentioned."""
    answered = answer(folder, 3)
    first, _ = _certify(folder)
    assert first.certificate["rejected_since"] == 0
    with Store.open(Store.url_for(_project(folder))) as store:
        draws = store.sampled(answered)
        drawn = {id_ for id_, records in draws.items() if any(record.reason == "certify" for record in records)}
        bad, others = (
            [pair.output for pair in store.pairs(sorted(ids)) if not good(pair.output)]
            for ids in (drawn, set(answered) - drawn)
        )
    for outputs, count in ((bad[:3], 3), (others[:3], 0)):
        pattern = "|".join(re.escape(output) for output in outputs)
        gate = f'curate.gates.must_not=[{{name="seen", pattern={json.dumps(pattern)}}}]'
        outcome, state = _certify(folder, gate)
        assert outcome.certificate["rejected_since"] == count
        assert ("3 rows that reviewers rejected are rejected by gates since" in state["words"]) is (count == 3)


def test_a_certificate_of_an_earlier_version_says_that_it_left_out_disputed_rows(folder: Path) -> None:
    """It still holds, so nothing stops; every place that shows it names the command that checks it by the new rule."""
    answer(folder, 3)
    outcome, state = _certify(folder)
    assert state["words"] == outcome.words
    with Store.open(Store.url_for(_project(folder))) as store:
        (latest,) = (receipt for receipt in store.receipts("certify") if receipt.ok)
        facts = {name: value for name, value in latest.facts["certificate"].items() if name != "disputed"}
        earlier = latest.model_copy(update={"facts": {**latest.facts, "certificate": facts}})
        store.write(earlier)
        state = certified.last_certification(_project(folder), store)
    assert state
    assert state["holds"]
    assert state["words"].startswith(outcome.words)
    assert state["words"].endswith("which count as bad now: `pairsmith certify` checks again")


def test_erased_reviews_invalidate_the_certificate(folder: Path) -> None:
    """After the only reviewer is erased, curation accepts no row by the certificate based on those reviews, and status
    and plan each say why. The rejected rows stay rejected."""
    answer(folder, 3)
    asked = "curate.select.certified=true"
    (folder / "pairsmith.toml").write_text(f"{own_pairs.SPEC}\n[curate.select]\ncertified = true\n", encoding="utf-8")
    outcome, _ = _certify(folder)
    assert pairsmith.Project(folder).curate().reasons["uncertified"] > 0
    offline = _project(folder, "review.url=http://127.0.0.1:9", "review.key_env=HOME")
    with Store.open(Store.url_for(offline)) as store:
        erased(offline, store, person="ann")
        state = certified.last_certification(offline, store)
        why = plan(_project(folder), store)[1].why
    assert (state and state["holds"], state and state["why"]) == (False, "certificate.json is missing")
    assert why == "answers of people were erased since"
    with pytest.raises(NoWork, match=f"uncertified {outcome.counts.rows_in - outcome.counts.rejected}"):
        pairsmith.Project(folder, [asked]).curate()


def test_reviewed_rows_are_not_counted_as_to_review(folder: Path) -> None:
    """Of 97 rows that were not certified 61 had been reviewed; the others are those that curation leaves waiting. A
    precision of 92.5 % is not shown as 92."""
    answer(folder, 3)
    outcome, _ = _certify(folder, precision=0.925)
    words = re.search(r">= 92\.5% precision \(90% .*; (\d+) to review; (\d+) decided by people; ", outcome.words)
    assert words, outcome.words
    waiting, decided = map(int, words.groups())
    assert waiting + decided == outcome.counts.waiting
    assert pairsmith.Project(folder, ["curate.select.certified=true"]).curate().reasons["uncertified"] == waiting


@pytest.mark.parametrize(
    ("option", "accepted"),
    [
        ("--precision", "a number from 0.5 to below 1"),
        ("--confidence", "a number from 0.5 to below 1"),
        ("--max-usd", "a number above 0"),
    ],
)
@pytest.mark.parametrize("value", ["nan", "inf", "50%", "1,5", "-1"])
def test_wrong_number_is_refused_with_the_accepted_ones(tmp_path: Path, option: str, accepted: str, value: str) -> None:
    """The message gives the range. `nan` would be no bound, since every comparison with it is false."""
    done = CliRunner().invoke(command_of("certify"), ["--project", str(tmp_path), option, value])
    assert (done.exit_code, f"'{value}' is not {accepted}." in done.output) == (2, True), done.output


def test_wrong_whole_number_is_refused_with_the_accepted_ones(tmp_path: Path) -> None:
    """The message gives the range; the bounds of ports are those of machines."""
    for command, option, value, accepted in (
        (rows.command, "--limit", "-1", "a whole number of at least 0"),
        (command_of("forecast"), "--seeds", "1.5", "a whole number of at least 2"),
        (serve_model.command, "--port", "99999", "a whole number from 1 to 65535"),
    ):
        done = CliRunner().invoke(command, ["--project", str(tmp_path), option, value])
        assert (done.exit_code, f"'{value}' is not {accepted}." in done.output) == (2, True), done.output


def test_certifying_reads_no_verdict_twice(folder: Path) -> None:
    """The verdicts are read by step, in pages. Reading those of every accepted row as well took a fifth of the time."""
    own_pairs.answer(folder)
    statements = list[str]()

    def keep(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", keep)
    try:
        _certify(folder)
    finally:
        event.remove(Engine, "before_cursor_execute", keep)
    assert any("FROM verdicts" in statement for statement in statements)
    assert not [one for one in statements if "FROM verdicts" in one and "verdicts.pair_id IN" in one]

"""`pytest --quick` runs the tests to try a change on first: no torch, Argilla, browser, PostgreSQL or built wheel, and
no file that takes many seconds. It takes a minute or so in all.

Everything else runs in `make test`. A file or fixture that needs one of those is listed here. A quick run fails where
the list is incomplete, on any machine: nothing in `ABSENT` can be imported, and each test's CPU time is limited.
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

# A verdict must not depend on how busy the machine is.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
settings.register_profile("quick", settings.get_profile("unhurried"), max_examples=10)

# Under nohup SIGHUP is ignored, and SIGINT after `make test &` in a script. Child processes inherit this unless the
# signal has a handler. Ours must receive both.
for name in ("SIGHUP", "SIGINT"):
    if (number := getattr(signal, name, None)) is not None and signal.getsignal(number) is signal.SIG_IGN:
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(number, lambda number, frame: None)

# Images of Docker often set this. Each of the processes that tests start would compile everything again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# One thread per worker, also in the processes it starts: two threads that wait for each other on a busy core spin, and
# have used 146 s of CPU where one thread used 39. vLLM, which is tested separately, keeps its own setting.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# Packages that may be installed, but are not in the environment of `make test-quick`.
ABSENT = {
    *("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "unsloth", "vllm", "gguf", "llguidance"),
    *("sacrebleu", "argilla", "openai", "playwright", "safetensors", "tokenizers", "wordllama"),
}
MIDDLE_GC = 1_000  # collections of the youngest generation per collection of the middle one: few tests get so far
QUICK_CPU_S = 5.0  # per test; the slowest takes 3 s on a busy machine, and nearly all others a hundredth of that

TESTS = Path(__file__).parent
ARGILLA = TESTS / "curate" / "argilla"
SLOW_FILES = {
    TESTS / name
    for name in (
        "curate/argilla/test_aliases.py",
        "curate/argilla/test_at_once.py",
        "curate/argilla/test_backup.py",
        "curate/argilla/test_browser.py",
        "curate/argilla/test_client.py",
        "curate/argilla/test_command.py",
        "curate/argilla/test_days_of_a_review.py",
        "curate/argilla/test_engine_answers.py",
        "curate/argilla/test_engine_contract.py",
        "curate/argilla/test_entrance.py",
        "curate/argilla/test_erased.py",
        "curate/argilla/test_from_the_service.py",
        "curate/argilla/test_hurried_page.py",
        "curate/argilla/test_kinds_end_to_end.py",
        "curate/argilla/test_kinds_in_browser.py",
        "curate/argilla/test_outage.py",
        "curate/argilla/test_own_routes.py",
        "curate/argilla/test_people.py",
        "curate/argilla/test_pull.py",
        "curate/argilla/test_push.py",
        "curate/argilla/test_queues.py",
        "curate/argilla/test_sdk_examples.py",
        "curate/argilla/test_sdk_people.py",
        "curate/argilla/test_server.py",
        "curate/argilla/test_server_breaks.py",
        "curate/argilla/test_server_faults.py",
        "curate/argilla/test_server_privacy.py",
        "curate/argilla/test_webhook.py",
        "curate/argilla/test_whole_review.py",
        "curate/export/test_export.py",
        "curate/flags/test_contradiction.py",
        "curate/gates/test_comparisons.py",
        "curate/gates/test_gate_rates.py",
        "curate/gates/test_gates_beside_set_14.py",
        "curate/gates/test_gates_on_unseen_tasks.py",
        "curate/gates/test_holding.py",
        "curate/gates/test_linear_gates.py",
        "curate/gates/test_look_alikes.py",
        "curate/gates/test_phrases.py",
        "curate/gates/test_time_limit.py",
        "curate/review/test_estimate.py",
        "curate/review/test_gate.py",
        "curate/review/test_sampling.py",
        "curate/scorers/test_bradley_terry.py",
        "curate/scorers/test_reward.py",
        "curate/scorers/test_served_reward.py",
        "curate/similarity/test_duplicates.py",
        "curate/test_attacks_steps.py",
        "curate/test_curate.py",
        "curate/test_redaction.py",
        "door/test_door.py",
        "door/test_project.py",
        "door/test_python_page.py",
        "pairsmith/checks/test_ahead.py",
        "pairsmith/checks/test_doctor.py",
        "pairsmith/commands/test_init.py",
        "pairsmith/commands/test_try.py",
        "pairsmith/report/test_evidence.py",
        "pairsmith/report/test_next_steps.py",
        "pairsmith/report/test_report.py",
        "pairsmith/report/test_report_in_browser.py",
        "pairsmith/report/test_report_judged.py",
        "pairsmith/stages/test_certify.py",
        "pairsmith/stages/test_curate.py",
        "pairsmith/stages/test_curate_judged.py",
        "pairsmith/stages/test_evaluate.py",
        "pairsmith/stages/test_export_of_older_work.py",
        "pairsmith/stages/test_forecast.py",
        "pairsmith/stages/test_generate.py",
        "pairsmith/stages/test_preview.py",
        "pairsmith/stages/test_what_if.py",
        "pairsmith/teachers/test_teachers.py",
        "pairsmith/terminal/test_stopping.py",
        "pairsmith/terminal/test_streams.py",
        "pairsmith/test_attacks_places.py",
        "pairsmith/test_attacks_plan.py",
        "pairsmith/test_bad_input.py",
        "pairsmith/test_erase.py",
        "pairsmith/test_exported_model.py",
        "pairsmith/test_forked.py",
        "pairsmith/test_held_out.py",
        "pairsmith/test_kinds.py",
        "pairsmith/test_licences.py",
        "pairsmith/test_money.py",
        "pairsmith/test_own_pairs.py",
        "pairsmith/test_people_decide.py",
        "pairsmith/test_pipeline.py",
        "pairsmith/test_plan.py",
        "pairsmith/test_registry.py",
        "pairsmith/test_run_in_parts.py",
        "pairsmith/test_start.py",
        "pairsmith/test_unanswered.py",
        "pairsmith/user_file/test_columns.py",
        "pairsmith/user_file/test_encoding.py",
        "pairsmith/user_file/test_guess.py",
        "pairsmith/user_file/test_own_files.py",
        "projects/test_old_projects.py",
        "prompts/test_prompts.py",
        "schemas/test_attacks_migration.py",
        "schemas/test_many_rows.py",
        "schemas/test_numbered.py",
        "schemas/test_spooled_seeds.py",
        "schemas/test_store.py",
        "schemas/test_store_writers.py",
        "serve/test_access.py",
        "serve/test_api.py",
        "serve/test_attacks.py",
        "serve/test_backup.py",
        "serve/test_caddy.py",
        "serve/test_canaries.py",
        "serve/test_certificates.py",
        "serve/test_child.py",
        "serve/test_clock.py",
        "serve/test_cut_connections.py",
        "serve/test_deploy.py",
        "serve/test_disagreements.py",
        "serve/test_downloads.py",
        "serve/test_evaluation_page.py",
        "serve/test_gone_project.py",
        "serve/test_jobs.py",
        "serve/test_killed_in_browser.py",
        "serve/test_kills.py",
        "serve/test_new_projects.py",
        "serve/test_on_postgresql.py",
        "serve/test_openai.py",
        "serve/test_openai_models.py",
        "serve/test_openai_trains.py",
        "serve/test_pages.py",
        "serve/test_pages_in_browser.py",
        "serve/test_policy.py",
        "serve/test_preview_page.py",
        "serve/test_pulse.py",
        "serve/test_rows_view.py",
        "serve/test_safety.py",
        "serve/test_schema.py",
        "serve/test_serve_command.py",
        "serve/test_serve_demo.py",
        "serve/test_service_pages.py",
        "serve/test_session_ends_in_browser.py",
        "serve/test_setup_pages.py",
        "serve/test_streams.py",
        "serve/test_traces.py",
        "serve/test_training_ends.py",
        "serve/test_what_people_do.py",
        "serve/test_whole_flow_in_browser.py",
        "synth/batch/test_batch_leftovers.py",
        "synth/batch/test_batches.py",
        "synth/batch/test_finished_batches.py",
        "synth/batch/test_lost_batches.py",
        "synth/chat/test_attacks_answers.py",
        "synth/chat/test_other_shapes.py",
        "synth/embedded/test_embedded_decoder.py",
        "synth/embedded/test_embedded_process.py",
        "synth/embedded/test_embedded_sampling.py",
        "synth/embedded/test_embedded_server.py",
        "synth/endpoints/test_addresses.py",
        "synth/endpoints/test_flow.py",
        "synth/providers/test_providers.py",
        "synth/test_budget.py",
        "synth/test_bulk.py",
        "synth/test_bulk_chaos.py",
        "synth/test_engine.py",
        "synth/test_local_vllm.py",
        "synth/test_recovery.py",
        "synth/test_refusals.py",
        "synth/test_stray_refusals.py",
        "test_servers.py",
        "train/base_models/test_base_check.py",
        "train/base_models/test_base_model.py",
        "train/base_models/test_remote_code.py",
        "train/evaluation/test_corrected_references.py",
        "train/evaluation/test_evaluation.py",
        "train/evaluation/test_intervals.py",
        "train/evaluation/test_references.py",
        "train/evaluation/test_vllm_scoring.py",
        "train/export/test_gguf.py",
        "train/export/test_merge.py",
        "train/export/test_run_snippets.py",
        "train/test_door.py",
        "train/test_families.py",
        "train/test_killed.py",
        "train/test_learning_curve.py",
        "train/test_mask.py",
        "train/test_old_records.py",
        "train/test_preferences.py",
        "train/test_python_page.py",
        "train/test_real_model.py",
        "train/test_reward_training.py",
        "train/test_sft.py",
        "train/test_trainer.py",
        "train/test_whole_proof.py",
    )
}
# Files of 40 s and more, the longest first. One that came last would run alone: two minutes of a whole run.
LONGEST_FILES = [
    TESTS / name
    for name in (
        "serve/test_whole_flow_in_browser.py",
        "synth/endpoints/test_flow.py",
        "serve/test_openai_trains.py",
        "curate/gates/test_gate_rates.py",
        "pairsmith/terminal/test_stopping.py",
        "pairsmith/test_own_pairs.py",
        "synth/test_budget.py",
        "pairsmith/test_pipeline.py",
        "train/test_preferences.py",
        "train/evaluation/test_evaluation.py",
        "train/export/test_gguf.py",
        "train/evaluation/test_vllm_scoring.py",
        "synth/embedded/test_embedded_server.py",
        "train/test_real_model.py",
        "serve/test_schema.py",
        "train/test_killed.py",
        "serve/test_access.py",
        "train/test_sft.py",
        "serve/test_serve_command.py",
        "serve/test_gone_project.py",
        "serve/test_clock.py",
        "serve/test_pages_in_browser.py",
        "serve/test_jobs.py",
        "serve/test_api.py",
        "pairsmith/checks/test_doctor.py",
    )
]
NOT_QUICK = "If that is how it is: mark the test with `slow`, or name its file in SLOW_FILES (tests/conftest.py)."
SLOW_FIXTURES = {"argilla_server", "postgres", "venv", "wheel", "smollm2_folder"}


@pytest.fixture(scope="session", autouse=True)
def _fork_embedded_servers() -> Iterator[None]:
    """Embedded servers are forked: otherwise each imports torch and transformers, which takes longer than most models
    here."""
    from synth.embedded import process
    from tests.pairsmith import forked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "child_command", forked.child_command)
        yield


@pytest.fixture(scope="session", autouse=True)
def _do_not_wait_for_the_disk() -> Iterator[None]:
    """No test loses power, and a killed process loses nothing that it has written. Each commit of each test would wait
    for the disk, several milliseconds and behind those of the other workers."""
    from schemas.store import opening

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "_SYNCHRONOUS", "OFF")
        patch.setattr(os, "fsync", lambda file: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _keep_tables() -> Iterator[None]:
    """The gates' tables and the identifier of languages stay loaded, which takes a second: `generate` frees them while
    it waits for a teacher, and each use of a user's file frees the identifier unless the gates have loaded it."""
    from curate.gates.identification import shared_identifier
    from pairsmith.stages import generate

    shared_identifier()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(generate, "free_tables", lambda: None)
        yield


@pytest.fixture(autouse=True, scope="module")
def _collect_garbage_after_each_file() -> Iterator[None]:
    """Free what a file's tests share, e.g. a model of many megabytes. Resources left open are reported here, or at the
    start of the next file if the last test still held them. Objects from before the file are not traversed, which would
    take half a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.collect()


@pytest.fixture(autouse=True)
def _collect_garbage_after_each_test(request: pytest.FixtureRequest) -> Iterator[None]:
    """Garbage is collected after each test, so that a resource left open fails that test and not a later one. Objects
    from before the test are not traversed: they are in the oldest generation. A test's own objects get there only if it
    creates so many that the other generations are collected meanwhile."""
    before = _count_collections()
    yield
    (request.node.funcargs or {}).clear()  # pytest would hold them until after the collection; None after Ctrl-C
    gc.collect(1 if _count_collections() == before else 2)


def _count_collections() -> int:
    """Collections so far, except those of the youngest generation."""
    return sum(generation["collections"] for generation in gc.get_stats()[1:])


class _QuickFinder(PathFinder):
    """Python's import finder in a quick run: the packages in `ABSENT` count as not installed."""

    @classmethod
    def find_spec(cls, fullname: str, *more: Any) -> ModuleSpec | None:
        return None if fullname.partition(".")[0] in ABSENT else super().find_spec(fullname, *more)

    @classmethod
    def find_distributions(cls, context: Any) -> Any:
        return () if context.name in ABSENT else super().find_distributions(context)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--quick", action="store_true", help="only tests that need no torch, Argilla, browser or PostgreSQL"
    )


def pytest_configure(config: pytest.Config) -> None:
    if gone := sorted(str(path.relative_to(TESTS)) for path in {*SLOW_FILES, *LONGEST_FILES} if not path.exists()):
        raise pytest.UsageError(f"tests/conftest.py names the files {gone}, which are not there. Correct its lists.")
    if config.getoption("--quick"):
        settings.load_profile("quick")
        sys.meta_path[sys.meta_path.index(PathFinder)] = _QuickFinder


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """In a quick run, fail a test that belongs on the list above but is not on it, and explain how to fix that."""
    if not item.config.getoption("--quick"):
        return (yield)
    before_s = sum(os.times()[:4])
    try:
        outcome = yield
    except ImportError as error:
        error.add_note(NOT_QUICK)
        raise
    if (spent_s := sum(os.times()[:4]) - before_s) > QUICK_CPU_S:
        pytest.fail(f"It took {spent_s:.1f} s of the processor, more than {QUICK_CPU_S:g}. {NOT_QUICK}", pytrace=False)
    return outcome


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Run collection without the garbage collector: it creates hundreds of thousands of objects that live until the
    end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        young, _, oldest = gc.get_threshold()
        gc.set_threshold(young, MIDDLE_GC, oldest)
        gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if config.getoption("--quick") and collection_path in SLOW_FILES else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`--dist loadfile`, but with all files that use Argilla on one worker: another worker would start servers of its
    own. If only such files are run, the workers share them."""
    if config.getvalue("dist") != "loadfile" or all("argilla" in argument for argument in config.args):
        return None
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file = str(super()._split_scope(nodeid))
            return "argilla" if file.startswith("tests/curate/argilla/") else file

    return Scheduling(config, log)


@pytest.hookimpl(trylast=True)  # after the shuffle
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    slow_files = SLOW_FILES | {item.path for item in items if _is_slow(item)}
    # Slow files first, so that no worker is left alone with one at the end.
    longest = {path: rank for rank, path in enumerate(LONGEST_FILES)}
    last = len(longest)
    items.sort(
        key=lambda item: (
            ARGILLA not in item.path.parents,
            longest.get(item.path, last),
            item.path not in slow_files,
        )
    )
    if config.getoption("--quick"):
        slow = [item for item in items if _is_slow(item)]
        items[:] = [item for item in items if item not in slow]
        config.hook.pytest_deselected(items=slow)


def _is_slow(item: pytest.Item) -> bool:
    """Whether a test needs a slow fixture, has PostgreSQL as a parameter, or is marked as taking seconds."""
    fixtures = getattr(item, "fixturenames", ())
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    marks = {mark.name for mark in item.iter_markers()}
    return "postgresql" in parameters or bool(SLOW_FIXTURES.intersection(fixtures) | marks & {"model", "slow"})

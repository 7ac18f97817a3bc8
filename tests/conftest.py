"""`pytest --quick`: what a change is tried on first. No torch, no Argilla, no browser, no PostgreSQL, no built wheel,
and no file that takes many seconds: under a minute in all.

Everything else runs in `make test`; a file or a fixture that needs one of those is named here. What should be and is
not fails in a quick run, wherever that runs: nothing of `ABSENT` can be imported, and a test's time on the processor
is counted.
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

# A verdict may not depend on how busy the machine is.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
settings.register_profile("quick", settings.get_profile("unhurried"), max_examples=10)

# Under nohup hangups are ignored, and processes inherit that, but for what has a handler: ours are to hear them.
if (hangup := getattr(signal, "SIGHUP", None)) is not None and signal.getsignal(hangup) is signal.SIG_IGN:
    with contextlib.suppress(ValueError):  # not the main thread
        signal.signal(hangup, lambda number, frame: None)

# One thread a worker, in the processes that it starts too: two that wait for each other on a core that is taken spin,
# and have cost 146 s of CPU where one took 39. vLLM, which is tried by itself, keeps its own.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# What may be installed, and is not where `make test-quick` has made its environment.
ABSENT = {
    *("torch", "transformers", "trl", "peft", "accelerate", "bitsandbytes", "unsloth", "vllm", "gguf", "llguidance"),
    *("sacrebleu", "argilla", "openai", "playwright", "safetensors", "tokenizers", "wordllama"),
}
FEW = 5_000  # objects that are looked at again at the end of each test: 2 ms
QUICK_CPU_S = 5.0  # of one test; the slowest one takes 2.5 on a busy machine, and nearly all a hundredth of that

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
        "curate/review/test_estimate.py",
        "curate/review/test_gate.py",
        "curate/review/test_sampling.py",
        "curate/test_attacks_steps.py",
        "curate/test_bradley_terry.py",
        "curate/test_contradiction.py",
        "curate/test_curate.py",
        "curate/test_duplicates.py",
        "curate/test_export.py",
        "curate/test_gate_rates.py",
        "curate/test_holding.py",
        "curate/test_linear_gates.py",
        "curate/test_phrases.py",
        "curate/test_redaction.py",
        "curate/test_reward.py",
        "curate/test_served_reward.py",
        "curate/test_time_limit.py",
        "door/test_door.py",
        "door/test_project.py",
        "door/test_python_page.py",
        "pairsmith/test_ahead.py",
        "pairsmith/test_attacks_places.py",
        "pairsmith/test_attacks_plan.py",
        "pairsmith/test_bad_input.py",
        "pairsmith/test_certify.py",
        "pairsmith/test_curate.py",
        "pairsmith/test_curate_judged.py",
        "pairsmith/test_doctor.py",
        "pairsmith/test_erase.py",
        "pairsmith/test_evaluate.py",
        "pairsmith/test_evidence.py",
        "pairsmith/test_export_of_older_work.py",
        "pairsmith/test_exported_model.py",
        "pairsmith/test_forecast.py",
        "pairsmith/test_forked.py",
        "pairsmith/test_generate.py",
        "pairsmith/test_held_out.py",
        "pairsmith/test_init.py",
        "pairsmith/test_kinds.py",
        "pairsmith/test_licences.py",
        "pairsmith/test_money.py",
        "pairsmith/test_next_steps.py",
        "pairsmith/test_file_encoding.py",
        "pairsmith/test_file_guess.py",
        "pairsmith/test_own_pairs.py",
        "pairsmith/test_pipeline.py",
        "pairsmith/test_plan.py",
        "pairsmith/test_preview.py",
        "pairsmith/test_registry.py",
        "pairsmith/test_report.py",
        "pairsmith/test_report_in_browser.py",
        "pairsmith/test_report_judged.py",
        "pairsmith/test_run_in_parts.py",
        "pairsmith/test_start.py",
        "pairsmith/test_stopping.py",
        "pairsmith/test_streams.py",
        "pairsmith/test_teachers.py",
        "pairsmith/test_try.py",
        "pairsmith/test_unanswered.py",
        "pairsmith/test_what_if.py",
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
        "synth/providers/test_providers.py",
        "synth/test_addresses.py",
        "synth/test_batches.py",
        "synth/test_budget.py",
        "synth/test_bulk.py",
        "synth/test_bulk_chaos.py",
        "synth/test_attacks_answers.py",
        "synth/test_embedded_decoder.py",
        "synth/test_embedded_process.py",
        "synth/test_embedded_sampling.py",
        "synth/test_embedded_server.py",
        "synth/test_engine.py",
        "synth/test_flow.py",
        "synth/test_local_vllm.py",
        "synth/test_lost_batches.py",
        "synth/test_other_shapes.py",
        "synth/test_recovery.py",
        "synth/test_refusals.py",
        "synth/test_stray_refusals.py",
        "train/test_base_check.py",
        "train/test_base_model.py",
        "train/test_door.py",
        "train/test_evaluation.py",
        "train/test_families.py",
        "train/test_gguf.py",
        "train/test_intervals.py",
        "train/test_killed.py",
        "train/test_learning_curve.py",
        "train/test_mask.py",
        "train/test_vllm_scoring.py",
        "train/test_merge.py",
        "train/test_old_records.py",
        "train/test_preferences.py",
        "train/test_python_page.py",
        "train/test_real_model.py",
        "train/test_references.py",
        "train/test_remote_code.py",
        "train/test_reward_training.py",
        "train/test_sft.py",
        "train/test_trainer.py",
        "train/test_run_snippets.py",
        "train/test_whole_proof.py",
        "test_servers.py",
    )
}
NOT_QUICK = "If that is how it is: mark the test with `slow`, or name its file in SLOW_FILES (tests/conftest.py)."
SLOW_FIXTURES = {"argilla_server", "postgres", "venv", "wheel", "smollm2_folder"}


@pytest.fixture(scope="session", autouse=True)
def _models_are_served_by_forked_processes() -> Iterator[None]:
    """Each embedded server imports torch and transformers otherwise, which takes longer than most models here."""
    from synth.embedded import process
    from tests.pairsmith import forked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "child_command", forked.child_command)
        yield


@pytest.fixture(autouse=True, scope="module")
def _what_a_file_shares_is_given_back() -> Iterator[list[int]]:
    """A model of many megabytes, for example; and what it has left open is found here, or as the next file begins where
    the last test still held it. What was there before the file is not looked at, which takes half a second, unless a
    test of the file has put more beside that."""
    gc.collect()
    gc.freeze()
    put_beside: list[int] = []
    yield put_beside
    if put_beside:
        gc.unfreeze()
    gc.collect()


@pytest.fixture(autouse=True)
def _what_a_test_leaves_open_is_its_own(_what_a_file_shares_is_given_back: list[int]) -> Iterator[None]:
    """It is found at the end of that test, and fails no later one: what is garbage by then is collected. Where much is
    still used, it is not looked at again while the file runs."""
    yield
    gc.collect()
    if (used := len(gc.get_objects())) > FEW:
        gc.freeze()
        _what_a_file_shares_is_given_back.append(used)


class _Quick(PathFinder):
    """What Python finds in a quick run: all but `ABSENT`, as where that is not installed."""

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
    if gone := sorted(str(path.relative_to(TESTS)) for path in SLOW_FILES if not path.exists()):
        raise pytest.UsageError(f"SLOW_FILES in tests/conftest.py names {gone}, which are not there. Correct the list.")
    if config.getoption("--quick"):
        settings.load_profile("quick")
        sys.meta_path[sys.meta_path.index(PathFinder)] = _Quick


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """In a quick run, say what a test has to do with the list above where it is not on it."""
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
    """Hundreds of thousands of objects are made, and all of them are used until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if config.getoption("--quick") and collection_path in SLOW_FILES else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`--dist loadfile`, but the files that ask Argilla are one worker's: another would start servers of its own. Where
    there are no others, the workers share them all the same."""
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
    # What takes long first, so that no worker ends with it alone.
    items.sort(key=lambda item: (ARGILLA not in item.path.parents, item.path not in slow_files))
    if config.getoption("--quick"):
        slow = [item for item in items if _is_slow(item)]
        items[:] = [item for item in items if item not in slow]
        config.hook.pytest_deselected(items=slow)


def _is_slow(item: pytest.Item) -> bool:
    """It needs a slow fixture, or one of its parameters is PostgreSQL, or it is marked as one that takes seconds."""
    fixtures = getattr(item, "fixturenames", ())
    parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
    marks = {mark.name for mark in item.iter_markers()}
    return "postgresql" in parameters or bool(SLOW_FIXTURES.intersection(fixtures) | marks & {"model", "slow"})

"""Tests of `try` and `serve-model`: both use the model that was measured."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from importlib import import_module
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="training needs the train extra")

from pairsmith.receipts.outcome import TrainOutcome
from pairsmith.receipts.receipt import recording
from pairsmith.terminal.session import put
from schemas.errors import InputError, UsageError
from schemas.files import sha256
from schemas.ports import free_port, listening
from schemas.records import Counts
from schemas.spec_file import load
from schemas.store import Store
from tests.pairsmith import forked, forked_child
from tests.pairsmith.conftest import Project
from tests.train import tiny
from tests.train.tiny import make_base
from train.dataset import Dataset
from train.evaluation.checks import Checked
from train.local_model import SystemAnswer, passes_without_reference
from train.sft import tune

pytestmark = pytest.mark.timeout(1200)  # trains and serves a model, possibly on a busy machine

SPEC = """
[task]
name = "images"
system = "Rewrite the prompt."
style = "Rich, with a light and a flag."
[[seeds]]
path = "seeds.jsonl"
[[exemplars]]
input = "a fox"
output = "a fox, warm light, wide photograph --ar 3:2"
[train]
base = "tiny-llama"
[evaluate]
sampling = { temperature = 0.9, max_tokens = 6 }
[[evaluate.checks]]
name = "light"
pattern = "light"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with a LoRA adapter on a tiny random model."""
    from synth.embedded.weights import embedded_weights

    folder = tmp_path_factory.mktemp("project")
    (folder / "pairsmith.toml").write_text(SPEC)
    (folder / "seeds.jsonl").write_text('{"input": "a fox"}\n')
    base = make_base(folder / "tiny-llama", embedded_weights().folder)
    trained = tune(base, Dataset("dataset-1", tiny.rows(8)), tiny.settings(base="tiny-llama"), folder / "adapters")
    project = load(folder)
    with Store.open(Store.url_for(project)) as store:
        store.write(trained.artifact.model_copy(update={"path": f"adapters/{trained.adapter_id}"}))
    return folder


def pairsmith(folder: Path, *arguments: str, lines: str = "") -> subprocess.CompletedProcess[str]:
    return Project(folder, kind=forked.MODELS).run(*arguments, stdin=lines)


@pytest.fixture(scope="module")
def tried(folder: Path) -> list[dict[str, Any]]:
    """The command's answers to lines of standard input; it starts a model, so it runs only once."""
    done = pairsmith(folder, "try", "--json", lines="two boats\na pine\n\nnever asked\n")
    assert done.returncode == 0, done.stderr
    inputs: list[dict[str, Any]] = json.loads(done.stdout)["inputs"]
    return inputs


def test_every_line_is_answered_by_base_few_shot_and_tuned(tried: list[dict[str, Any]]) -> None:
    """Without TEXT it reads lines of standard input up to an empty one. Each answer names the checks that it fails, and
    an incomplete answer never passes."""
    assert [one["input"] for one in tried] == ["two boats", "a pine"]
    for one in tried:
        assert [answer["system"] for answer in one["answers"]] == ["base", "few-shot", "tuned"]
        for answer in one["answers"]:
            assert ("check:light" in answer["failed"]) is ("light" not in answer["text"])
            assert answer["passes"] is (answer["whole"] and not answer["failed"])
    texts = {answer["system"]: answer["text"] for answer in tried[0]["answers"]}
    assert texts["tuned"] != texts["base"]


def test_the_answer_of_each_system_is_shown(tried: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    """Each system has lines of its own, which begin with its name."""
    command: Any = import_module("pairsmith.commands.try")
    put(*command._screen([SystemAnswer(**answer) for answer in tried[1]["answers"]]))
    shown = capsys.readouterr().out
    first = [line.split()[0] for line in shown.splitlines() if line.strip() and line[0] != " "]
    assert first == ["base", "few-shot", "tuned"]


def test_a_label_without_a_reference_is_not_judged_correct(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a reference only the form of a label or record can be checked: a wrong form fails, anything else is not
    judged, and the screen says so. Other checks decide for a text, and a check of the user's own for a label, as in the
    evaluation."""
    assert passes_without_reference(Checked({"length": True, "label": True}, {})) is None
    assert passes_without_reference(Checked({"schema": True}, {})) is None
    assert passes_without_reference(Checked({"label": False}, {})) is False
    assert passes_without_reference(Checked({"length": True}, {})) is True
    assert passes_without_reference(Checked({"label": True, "check:near": True}, {})) is True
    assert passes_without_reference(Checked({"label": True, "user:rules:right": None}, {})) is None
    command: Any = import_module("pairsmith.commands.try")
    put(*command._screen([SystemAnswer("tuned", "bug", True, None, (), 0.1)]))
    assert "correctness was not judged" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("host", ["a..b", "a" * 64, "203.0.113.7", "nobody.invalid"])
def test_a_host_of_another_machine_is_a_clear_error(host: str) -> None:
    """Neither the address of another machine nor an invalid host name is accepted."""
    with pytest.raises(UsageError, match="is not an address of this machine"):
        listening(host, 8000)


def test_max_tokens_are_reduced_to_the_context(folder: Path) -> None:
    """If the limit is as long as the context, the model answers within what the prompt leaves, which is mentioned once.
    The base is loaded only once."""
    done = pairsmith(folder, "try", "a fox", "--set", "evaluate.sampling.max_tokens=512")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("starting the embedded") == 1
    assert "refused" not in done.stdout
    assert done.stderr.count("the context of 512 tokens") == 1


def test_an_input_longer_than_the_context_is_an_error(folder: Path) -> None:
    """Every system refuses it with a clear message; it is neither called cut nor a success. That few-shot is not asked,
    because no example fits beside such an input, is said."""
    done = pairsmith(folder, "try", "a fox " * 400)
    assert done.returncode == 8, done.stderr
    assert done.stdout.count("(refused") == 2
    assert "few-shot cannot be used with this base" in " ".join(done.stderr.split())
    assert "cut" not in done.stdout
    assert "no system could process" in done.stderr


@pytest.mark.parametrize(("given", "lines", "code"), [(["  "], "a fox\n", 2), ([], "", 8)])
def test_an_empty_input_is_refused(folder: Path, given: list[str], lines: str, code: int) -> None:
    """An empty TEXT is refused before a model is loaded, and standard input is not read instead; without any line the
    command says that there was no input."""
    done = pairsmith(folder, "try", *given, lines=lines)
    assert done.returncode == code, done.stderr
    assert "TEXT" in done.stderr
    assert not done.stdout


def test_stopping_try_does_not_mention_the_store(folder: Path) -> None:
    """`try` stores nothing and starts again the next time, so the usual message that everything was kept would be
    wrong."""
    command = forked.training_command("pairsmith", "try", "--project", str(folder))
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stderr is not None
        while "starting the embedded server" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        errors = process.communicate(timeout=250)[1]
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("stopped: the command did not finish. Run the same command again")
    assert "everything finished" not in errors


@pytest.mark.parametrize("command", ["try", "serve-model"])
def test_an_adapter_is_not_applied_to_another_base(folder: Path, tmp_path: Path, command: str) -> None:
    """If train.base was changed after training, the command says so instead of answering with a model that nobody
    trained."""
    another = tmp_path / "another"
    shutil.copytree(folder / "tiny-llama", another)
    config = json.loads((another / "config.json").read_text())
    (another / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.1}))
    given = ["a fox"] if command == "try" else []
    done = pairsmith(folder, command, *given, "--set", f"train.base={another}")
    assert done.returncode == 4, done.stderr
    assert "was trained on a different base" in done.stderr
    assert not done.stdout


@pytest.mark.parametrize("where", [("--port", "99999"), ("--host", "nowhere.invalid"), ("--host", "192.0.2.1")])
def test_an_invalid_host_or_port_is_a_usage_error(folder: Path, where: tuple[str, str]) -> None:
    """An invalid port, an unknown host and another machine's address are reported as the user's mistakes."""
    done = pairsmith(folder, "serve-model", *where)
    assert done.returncode == 2, done.stderr
    assert where[1] in done.stderr
    assert not {"defect", "taken"} & set(done.stderr.split())


def test_the_tuned_model_is_served_until_it_is_stopped(folder: Path) -> None:
    """An OpenAI client finds `tuned` at the given port; a request without decoding settings is decoded as in the
    evaluation. Ctrl-C ends the server and frees the port, and an answer that it interrupts does not look complete."""
    port = free_port()
    words = ["serve-model", "--port", str(port), "--project", str(folder), "--json"]
    command = forked.training_command("pairsmith", *words)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            answer = json.loads("".join(takewhile(lambda line: line != "}\n", process.stdout)) + "}")
            assert answer["url"] == f"http://127.0.0.1:{port}/v1"
            listed = json.load(urllib.request.urlopen(f"{answer['url']}/models", timeout=250))
            assert [model["id"] for model in listed["data"]] == ["tuned", "tiny-llama"]
            body = {"model": "tuned", "messages": [{"role": "user", "content": "a fox"}], "max_tokens": 3}
            for stream in (False, True):
                asked = urllib.request.Request(
                    f"{answer['url']}/chat/completions",
                    json.dumps(body | {"stream": stream}).encode(),
                    {"Content-Type": "application/json"},
                )
                text = urllib.request.urlopen(asked, timeout=250).read().decode()
                assert text.endswith("data: [DONE]\n\n") if stream else json.loads(text)["choices"]
            del body["max_tokens"]  # then it is decoded as in the evaluation: six tokens
            asked = urllib.request.Request(f"{answer['url']}/chat/completions", json.dumps(body).encode())
            assert json.load(urllib.request.urlopen(asked, timeout=250))["usage"]["completion_tokens"] <= 6
            assert "system_prompt" in answer
            assert answer["context_tokens"] == 512
            body["max_tokens"] = 512  # an upper bound: reduced to what is left of the context
            asked = urllib.request.Request(f"{answer['url']}/chat/completions", json.dumps(body).encode())
            used = json.load(urllib.request.urlopen(asked, timeout=250))["usage"]
            assert 6 < used["total_tokens"] <= 512
            del body["max_tokens"]
            busy = pairsmith(folder, *words)
            assert f"port {port} is in use" in json.loads(busy.stdout)["error"]["what"]
            long = {**body, "max_tokens": 450, "n": 128, "temperature": 2, "stream": True}
            asked = urllib.request.Request(f"{answer['url']}/chat/completions", json.dumps(long).encode())
            with urllib.request.urlopen(asked, timeout=250) as cut:
                cut.readline()
                process.send_signal(signal.SIGINT)
                *_, last = (line for line in cut.read().decode().splitlines() if line)
            assert "shutting down" in json.loads(last.removeprefix("data: "))["error"]["message"]
            assert process.wait(250) == 0
        finally:
            process.send_signal(forked_child.KILL)
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return
        time.sleep(0.1)
    pytest.fail("something is still listening on the port")


@pytest.mark.parametrize("command", ["try", "serve-model", "evaluate"])
def test_weights_changed_after_training_are_refused(folder: Path, tmp_path: Path, command: str) -> None:
    """Nothing is answered, served or measured with them, even if their hash in the record was edited as well."""
    changed = Path(shutil.copytree(folder, tmp_path / "project"))
    (weights,) = changed.glob("adapters/*/adapter_model.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    done = pairsmith(changed, command, *(["a fox"] if command == "try" else []))
    assert (done.returncode, done.stdout) == (InputError.exit_code, "")
    assert "these weights are not what training wrote" in " ".join(done.stderr.split())
    project, digest = load(changed), hashlib.sha256(whole).hexdigest()
    with Store.open(Store.url_for(project)) as store, recording(project, store, "train", TrainOutcome()) as recorded:
        counts = Counts(rows_in=1, accepted=1)
        digests = {weights.name: digest}
        recorded.outcome = TrainOutcome(counts=counts, artifact_id=weights.parent.name, digests=digests)
    record = weights.with_name("training.json")
    record.write_text(record.read_text().replace(digest, sha256(weights)))
    assert pairsmith(changed, command, *(["a fox"] if command == "try" else [])).returncode == InputError.exit_code

"""The systemd unit and the compose file start the service with valid commands."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import click
import pytest
import yaml

from pairsmith.commands.serve import command
from tests.serve.served import Served

DEPLOY = Path(__file__).parents[2] / "docs/deploy"
ARGILLA = DEPLOY.parent / "argilla/docker-compose.yml"


def parse_options(words: list[str]) -> dict[str, object]:
    """Return the options that `pairsmith serve` parses from `words`. Raises click.UsageError."""
    assert words[0] == "serve"
    up = command.commands["up"]
    return up.make_context("serve", words[1:]).params


def test_unit_leaves_jobs_running() -> None:
    """Restarting the unit ends only the server process, and its command is valid."""
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(DEPLOY / "pairsmith.service")
    assert unit["Service"]["KillMode"] == "process"
    program, *words = shlex.split(unit["Service"]["ExecStart"])
    assert program.endswith("/pairsmith")
    assert str(parse_options(words)["url"]).startswith("https://")


def test_unit_has_a_writable_temporary_folder() -> None:
    """With ProtectSystem=strict /tmp is read-only, so uploads and saved prompts need another temporary folder."""
    text = (DEPLOY / "pairsmith.service").read_text()
    assert "ProtectSystem=strict" in text
    temporary = re.search(r"TMPDIR=(\S+)", text)
    assert temporary
    assert temporary[1] in [f"/var/lib/{name}" for name in text.partition("StateDirectory=")[2].splitlines()[0].split()]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs the program systemd-analyze")
def test_unit_is_valid_for_systemd(tmp_path: Path) -> None:
    """No key is unknown or has a value that systemd would ignore."""
    unit = tmp_path / "pairsmith.service"
    unit.write_text((DEPLOY / "pairsmith.service").read_text().replace("/opt/pairsmith/bin/pairsmith", sys.executable))
    read = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=120)
    assert (read.returncode, read.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs the program docker-compose")
@pytest.mark.parametrize("files", [[DEPLOY / "compose.yaml"], [DEPLOY / "compose.yaml", ARGILLA]])
def test_compose_files_are_valid(files: list[Path]) -> None:
    """Alone and together with Argilla's file, if every required variable is set; without the database password they are
    refused."""
    named = [word for file in files for word in ("-f", str(file))]
    needed = {name: "x" for file in files for name in re.findall(r"\$\{(\w+)", file.read_text())}
    for variables, works in ((needed, True), ({**needed, "POSTGRES_PASSWORD": ""}, False)):
        read = subprocess.run(
            ["docker-compose", *named, "config", "--quiet"],
            env={"PATH": os.environ["PATH"], "HOME": "/nowhere", **variables},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (read.returncode == 0) is works, read.stderr


def test_compose_file_starts_the_service() -> None:
    """Its command is valid, only the proxy can reach the service, proxy and service can be restarted independently, and
    the file contains no password."""
    text = (DEPLOY / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"]
    serve = services["serve"]
    assert parse_options(serve["command"])["host"] == "127.0.0.1"
    assert services["proxy"]["network_mode"] == serve["network_mode"] == "service:front"
    assert serve["read_only"]
    assert serve["init"]
    assert "8660" not in str(services["front"]["ports"])
    assert [name for name, one in services.items() if "ports" in one] == ["front"]
    assert "8660" in (DEPLOY / "Caddyfile").read_text()
    database = next(option for option in command.commands["up"].params if option.name == "database_url")
    assert isinstance(database, click.Option)
    assert database.envvar in serve["environment"]
    assert "${POSTGRES_PASSWORD:?" in text


def test_image_is_built_from_the_clone(tmp_path: Path) -> None:
    """pairsmith is not installed from a package index, which does not have it or has another package of that name, and
    the build context is sufficient for a complete wheel."""
    build = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["serve"]["build"]
    clone = (DEPLOY / build["context"]).resolve()
    dockerfile = clone / build["dockerfile"]
    assert (clone / "pyproject.toml").is_file()
    installed = re.findall(r"pip (?:install|wheel) .*", dockerfile.read_text())
    assert [line for line in installed if "pairsmith" in line] == []
    given = Path(f"{dockerfile}.dockerignore").read_text().split()
    for name in (line[1:] for line in given if line.startswith("!")):
        copy = shutil.copytree if (clone / name).is_dir() else shutil.copy
        copy(clone / name, tmp_path / name)
    out = tmp_path / "wheel"
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(out), str(tmp_path)]
    subprocess.run(command, check=True, timeout=250)
    (wheel,) = out.glob("pairsmith-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    for needed in (
        "pairsmith/serve/templates/base.html.j2",
        "pairsmith/docs/index.md",
        "schemas/store/migrations/env.py",
    ):
        assert needed in names
    assert any(name.startswith("pairsmith/examples/release-notes/") for name in names)


def test_container_health_check(tmp_path: Path) -> None:
    """The proxy waits for it: it succeeds while a service answers and fails otherwise."""
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["serve"]
    kind, program, *words = service["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python")
    with Served(tmp_path) as server:
        check = [sys.executable, *(word.replace("8660", server.url.rpartition(":")[2]) for word in words)]
        assert subprocess.run(check, timeout=120, check=False).returncode == 0
    assert subprocess.run(check, timeout=120, check=False, capture_output=True).returncode != 0


def test_compose_files_can_be_combined_with_argillas() -> None:
    """The two compose files share no service or volume names, the proxy and specs can use the host name `argilla`, and
    every variable of the Caddyfile is set."""
    ours, theirs = (yaml.safe_load(path.read_text()) for path in (DEPLOY / "compose.yaml", ARGILLA))
    for part in ("services", "volumes"):
        assert not ours[part].keys() & theirs[part].keys()
    assert "argilla" in theirs["services"]
    caddy = (DEPLOY / "Caddyfile").read_text()
    assert "reverse_proxy argilla:6900" in caddy
    assert set(re.findall(r"\{\$(\w+)\}", caddy)) == set(ours["services"]["proxy"]["environment"])


def test_invalid_option_is_detected() -> None:
    """Shows that `parse_options` above fails for an option that does not exist."""
    with pytest.raises(click.UsageError):
        parse_options(["serve", "/workspace", "--workers", "4"])

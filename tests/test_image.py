"""The Dockerfile: what the image is made of, and what linters say of all such files."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.containers.dockerfile import copy_context, image_environment, instructions

LINES = list(instructions())


def test_the_last_stage_is_nobodys_root_and_runs_the_pipeline() -> None:
    last = max(number for number, one in enumerate(LINES) if one.name == "FROM")
    users = [one.text for one in LINES[last:] if one.name == "USER"]
    assert users == ["$UID"]
    assert image_environment(UID="1000")["TAXI_NB_ROOT"] == "/project"
    (command,) = [json.loads(one.text) for one in LINES if one.name == "CMD"]
    assert command[:2] == ["taxi-nb", "run"]
    assert (REPOSITORY / command[2]).is_file()


def test_what_changes_often_is_copied_last() -> None:
    copied = [word for one in LINES if one.name == "COPY" for word in one.words[:-1]]
    order = ["requirements.lock", "pyproject.toml", "/opt/venv", "taxi_nb", "params", "notebooks"]
    assert [copied.index(name) for name in order] == sorted(copied.index(name) for name in order)
    commit = next(n for n, one in enumerate(LINES) if one.name == "ARG" and "COMMIT" in one.text)
    assert not [one for one in LINES[commit:] if one.name in ("COPY", "RUN")]


def test_the_image_has_the_project_and_nothing_that_lies_beside_it(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "params", tmp_path / "params")
    shutil.copy(REPOSITORY / ".dockerignore", tmp_path)
    (tmp_path / "params" / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=x\n")
    copy_context(["params"], tmp_path / "image", context=tmp_path)
    there = {path.name for path in (tmp_path / "image").iterdir()}
    assert there == {path.name for path in (REPOSITORY / "params").iterdir() if path.is_file()}
    with pytest.raises(AssertionError, match="leaves it out"):
        copy_context([".env"], tmp_path / "image", context=tmp_path)
    for one in LINES:
        if one.name == "COPY" and not one.options.get("from"):
            for source in one.words[:-1]:
                assert (REPOSITORY / source).exists()


def test_extras_that_images_are_built_with_exist() -> None:
    written = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    extras = set(written["project"]["optional-dependencies"])
    (default,) = [one.words[0] for one in LINES if one.text.startswith("EXTRAS=")]
    wanted = default.partition("=")[2].split()
    assert set(wanted) <= extras


@pytest.mark.slow
def test_linters_say_nothing() -> None:
    programs = Path(sys.executable).parent
    schema = [str(programs / "check-jsonschema"), "--builtin-schema"]
    workflows = sorted((REPOSITORY / ".github" / "workflows").iterdir())
    checks = [
        [*schema, "vendor.compose-spec", "compose.yaml"],
        [*schema, "vendor.github-workflows", *map(str, workflows)],
    ]
    if (programs / "hadolint").exists():  # It has no program for Windows.
        checks.append([str(programs / "hadolint"), "Dockerfile"])
    for check in checks:
        done = subprocess.run(check, cwd=REPOSITORY, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

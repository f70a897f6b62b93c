"""The two doors lead to the same dependencies, and the lock holds them all."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from taxi_nb.located_yaml import read_located_yaml
from tests.conftest import REPOSITORY

# Extras with a lock of their own.
ENGINES = ["prefect", "kubeflow"]
CONDA_NAMES = {
    "xgboost-cpu": "py-xgboost-cpu",
    "matplotlib": "matplotlib-base",
    "jupyter-client": "jupyter_client",
    "jupyter-server": "jupyter_server",
    "prometheus-client": "prometheus_client",
    "flit_core": "flit-core",
}


@pytest.fixture(scope="module")
def project() -> dict[str, list[str]]:
    written = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
    extras = written["project"]["optional-dependencies"]
    return {
        "default": written["project"]["dependencies"],
        "build": written["dependency-groups"]["build"],
        **extras,
    }


def conda_line(requirement: str) -> str:
    parsed = Requirement(requirement)
    order = sorted(str(parsed.specifier).split(","), reverse=True)
    return CONDA_NAMES.get(parsed.name, parsed.name) + ",".join(order)


def test_environment_yml_names_what_pyproject_names(project: dict[str, list[str]]) -> None:
    conda = read_located_yaml(REPOSITORY / "environment.yml").value["dependencies"]
    wanted = [*project["default"], *project["build"], *project["s3"], *project["postgres"]]
    assert sorted(conda) == sorted(["python>=3.11", *map(conda_line, wanted)])


def locked(file: str) -> dict[str, set[str]]:
    pins: dict[str, set[str]] = {}
    for name, version in re.findall(
        r"^([A-Za-z0-9_.\-\[\]]+)==(\S+)", (REPOSITORY / file).read_text(), re.MULTILINE
    ):
        pins.setdefault(normal(name), set()).add(version)
    return pins


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.split("[")[0]).lower()


def test_the_lock_pins_every_dependency_with_hashes(project: dict[str, list[str]]) -> None:
    for file, groups in {
        "requirements.lock": ["default", "build"],
        "requirements-dev.lock": [group for group in project if group not in ENGINES],
        "requirements-engines.lock": ENGINES,
    }.items():
        pins = locked(file)
        for requirement in (Requirement(text) for group in groups for text in project[group]):
            assert any(requirement.specifier.contains(v) for v in pins[normal(requirement.name)])
        text = (REPOSITORY / file).read_text()
        blocks = re.split(r"^(?=\S+==)", text, flags=re.MULTILINE)[1:]
        assert all("--hash=sha256:" in block for block in blocks)
        assert "://" not in text


def test_both_locks_agree() -> None:
    everything = locked("requirements-dev.lock")
    for name, versions in locked("requirements.lock").items():
        assert versions == everything[name]


def test_what_is_installed_is_what_is_locked() -> None:
    for name, versions in locked("requirements.lock").items():
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # Belongs to another platform.
        assert installed in versions, name


def test_no_default_dependency_brings_a_gpu(project: dict[str, list[str]]) -> None:
    assert "xgboost-cpu" in {Requirement(text).name for text in project["default"]}
    assert not [name for name in locked("requirements.lock") if name.startswith("nvidia")]


def test_make_alone_prints_every_target_with_one_line() -> None:
    written = (REPOSITORY / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", written, re.MULTILINE)
    done = subprocess.run(
        ["make", "--no-print-directory"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line.strip()]
    assert [line[0] for line in lines] == phony.split()
    assert all(len(line) == 2 for line in lines)


def test_bytecode_is_compiled_with_the_environment() -> None:
    import pandas

    compiled = Path(pandas.__file__).parent / "__pycache__"
    assert list(compiled.glob("__init__.*.pyc"))

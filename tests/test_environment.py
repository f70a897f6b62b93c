"""The two doors lead to the same dependencies, and the lock holds them all."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import taxi_nb
from taxi_nb.located_yaml import read_located_yaml
from taxi_nb.trips.extras import EXTRA_OF, extras_named
from tests.conftest import REPOSITORY
from tests.package_index import resolved

# Extras with a lock of their own.
ENGINES = ["prefect", "kubeflow"]
BESIDES = ("distributed", "fastparquet", "notify", "postgres", "s3")
CONDA_NAMES = {
    "xgboost-cpu": "py-xgboost-cpu",
    "matplotlib": "matplotlib-base",
    "jupyter-client": "jupyter_client",
    "jupyter-core": "jupyter_core",
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
    extras = (text for extra in ("taxi", "s3", "postgres") for text in project[extra])
    here = [text for text in extras if "== 'darwin'" not in text]  # conda has one for all systems.
    wanted = [*project["default"], *project["build"], *here]
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
        "requirements.lock": ["default", "build", "taxi"],
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
    installed = {normal(one.name): one.version for one in importlib.metadata.distributions()}
    locks = locked("requirements.lock")
    # What is locked and not there belongs to another platform.
    differ = {name for name in locks.keys() & installed if installed[name] not in locks[name]}
    assert (differ, len(locks.keys() & installed) > 100) == (set(), True)


def imported(*rooms: str) -> dict[str, set[str]]:
    """Third-party packages that our modules import, inside functions too -> those modules."""
    found: dict[str, set[str]] = {}
    for file in sorted((REPOSITORY / "taxi_nb").rglob("*.py")):
        path = file.relative_to(REPOSITORY / "taxi_nb")
        if rooms and path.parts[0] not in rooms:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [one.name for one in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                found.setdefault(name.partition(".")[0], set()).add(str(path))
    ours = {"taxi_nb", "_typeshed", "_kernel_process", "_process_groups"}
    return {name: by for name, by in found.items() if name not in {*sys.stdlib_module_names, *ours}}


packages_distributions = cache(importlib.metadata.packages_distributions)


def named(requirements: Iterable[str]) -> set[str]:
    return {normal(Requirement(text).name).removesuffix("-cpu") for text in requirements}


def test_what_is_imported_is_named(project: dict[str, list[str]]) -> None:
    extras = [text for name in project if name != "build" for text in project[name]]
    packages = packages_distributions()
    for name, modules in imported().items():
        brought_by = {normal(one).removesuffix("-cpu") for one in packages.get(name, [name])}
        assert brought_by & named(extras), f"{name}, which {sorted(modules)} import"


def test_what_runs_notebooks_needs_no_extra_for_taxis(project: dict[str, list[str]]) -> None:
    packages = packages_distributions()
    of_taxis = named(project["taxi"])
    for name, modules in imported("pipeline", "review", "tracking", "secrets", "export").items():
        brought_by = {normal(one).removesuffix("-cpu") for one in packages.get(name, [name])}
        assert not brought_by & of_taxis, f"{name}, which {sorted(modules)} import"


def test_a_missing_package_is_told_with_its_extra(
    project: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for package, extra in EXTRA_OF.items():
        assert package in named(project[extra])
    for module in [name for name in sys.modules if name.startswith("taxi_nb.trips.schema")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.delitem(vars(taxi_nb), "validate_trips", raising=False)
    monkeypatch.setitem(sys.modules, "pandera.pandas", None)  # Importing it fails.
    with pytest.raises(ModuleNotFoundError) as caught:
        taxi_nb.validate_trips  # noqa: B018
    told = "pandera is not installed, the extra `taxi` brings it: pip install 'taxi-nb[taxi]'"
    assert str(caught.value) == told
    with pytest.raises(ModuleNotFoundError, match=r"'nowhere'$"), extras_named():
        import nowhere  # type: ignore[import-not-found]  # noqa: F401


def test_a_command_that_misses_a_package_says_so_in_one_line() -> None:
    script = (
        "import sys, taxi_nb.cli as cli\n"
        "sys.modules['seaborn'] = None\n"
        "cli._all = lambda: lambda arguments: __import__('seaborn')\n"
        "cli.main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    told = "seaborn is not installed, the extra `taxi` brings it: pip install 'taxi-nb[taxi]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", told)


def test_a_model_whose_library_is_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test may have imported parts of it, which would be found as they are.
    for part in [name for name in sys.modules if name.startswith("xgboost.")]:
        monkeypatch.delitem(sys.modules, part)
    monkeypatch.setitem(sys.modules, "xgboost", None)
    with pytest.raises(ModuleNotFoundError, match=r"xgboost, .* pip install 'taxi-nb\[taxi\]'$"):
        taxi_nb.make_model("xgboost")


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
@pytest.mark.parametrize("system", ["linux", "macos", "windows"])
def test_each_system_has_wheels_of_everything(system: str, python: str) -> None:
    extras = ("--extra", "taxi", *(arg for one in BESIDES for arg in ("--extra", one)))
    where = ("--no-build", "--python-platform", system, "--python-version", python)
    pins = resolved("pyproject.toml", *extras, *where)
    boosting = {name for name in pins if name.startswith("xgboost")}
    assert boosting == {"xgboost" if system == "macos" else "xgboost-cpu"}
    assert pins["mlflow"]


@pytest.mark.slow
def test_the_lowest_versions_are_those_that_are_named(project: dict[str, list[str]]) -> None:
    extras = ("taxi", *BESIDES, "dev")
    lowest = ("--python-version", "3.11", "--resolution", "lowest-direct")
    pins = resolved("pyproject.toml", *lowest, *(a for one in extras for a in ("--extra", one)))
    for text in (text for name in ("default", *extras) for text in project[name]):
        wanted = Requirement(text)
        (bound,) = [one.version for one in wanted.specifier if one.operator == ">="]
        if wanted.marker is None or wanted.marker.evaluate():
            (pin,) = [pins[normal(wanted.name)]]
            assert Requirement(f"x=={bound}").specifier.contains(pin), f"{text}: {pin}"


def test_make_lowest_installs_every_extra_but_the_engines(project: dict[str, list[str]]) -> None:
    told = subprocess.run(
        ["make", "--dry-run", "lowest"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    (installed,) = re.findall(r'-e "\.\[([\w,]+)\]"', told)
    assert {*installed.split(",")} == project.keys() - {"default", "build", *ENGINES}


def test_no_default_dependency_brings_a_gpu() -> None:
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

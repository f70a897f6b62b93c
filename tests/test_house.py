"""The house: each room imports only rooms below it, and what should be quick to import is."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

import taxi_nb
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "taxi_nb"
HEAVY = {"mlflow", "pandas", "sklearn", "papermill", "xgboost", "seaborn", "matplotlib", "numpy"}

# From the roof to the ground, as docs/ARCHITECTURE.md draws it.
ROOMS = (
    "cli",
    "lab",
    "export",
    "review",
    "pipeline",
    "registry",
    "scoring",
    "training",
    "plots",
    "evaluation",
    "trips",
    "models",
    "tracking",
    "secrets",
    "project",
    "located_yaml",
    "calendar_months",
    "close_names",
    "plain_data",
)
# The door, which leads into every room: the public names, and `python -m taxi_nb`.
DOORS = {"__init__", "__main__"}
# They would run anybody's notebooks.
KNOW_NO_TAXIS = ("tracking", "pipeline", "review", "export", "secrets")
WORDS_OF_TAXIS = {"trip", "trips", "taxi", "taxis", "zone", "zones", "pickup", "dropoff"}
WORDS_OF_TAXIS |= {"borough", "nyc", "tlc"}


@cache
def modules() -> dict[str, Path]:
    found = {}
    skeleton = PACKAGE / "cli" / "skeleton"  # A project of somebody else's.
    for file in set(PACKAGE.rglob("*.py")) - set(skeleton.rglob("*.py")):
        name = ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = file
    return found


def room(module: str) -> str:
    return module.partition(".")[0]


@cache
def imports() -> Mapping[str, frozenset[str]]:
    """Which of our modules each module imports, inside functions too."""
    known = modules()
    return {
        name: frozenset(found for found in imported_by(name, file) if found in known)
        for name, file in known.items()
    }


def imported_by(name: str, file: Path) -> Iterator[str]:
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            ours = (one.name for one in node.names if one.name.startswith("taxi_nb"))
            yield from (found.removeprefix("taxi_nb.") for found in ours)
        elif isinstance(node, ast.ImportFrom):
            base = (node.module or "").removeprefix("taxi_nb").lstrip(".")
            if node.level:
                base = ".".join(filter(None, [package, node.module]))
            elif not (node.module or "").startswith("taxi_nb"):
                continue
            yield base
            yield from (f"{base}.{one.name}".lstrip(".") for one in node.names)


def test_every_module_lives_in_a_room() -> None:
    assert {room(name) for name in modules()} - DOORS == set(ROOMS)


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_go_down(name: str) -> None:
    if name in DOORS:
        return
    below = ROOMS[ROOMS.index(room(name)) :]
    upward = {found for found in imports()[name] if room(found) not in {*below, *DOORS}}
    assert not upward


def test_there_is_no_circle() -> None:
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, f"a circle: {' -> '.join((*path, name))}"
        if name not in done:
            for found in imports()[name]:
                # A module of a package imports the package's `__init__`, which imports nothing.
                if not (name.startswith(f"{found}.") and not imports()[found]):
                    visit(found, (*path, name))
            done.add(name)

    for name in set(modules()) - DOORS:
        visit(name, ())


@pytest.mark.parametrize("chosen", KNOW_NO_TAXIS)
def test_what_runs_notebooks_knows_nothing_about_taxis(chosen: str) -> None:
    spoken = {
        f"{name}: {word}"
        for name, file in modules().items()
        if room(name) == chosen
        for text in names_and_literals(ast.parse(file.read_text()))
        for word in text.lower().replace("taxi_nb", "").split("_")
        if word in WORDS_OF_TAXIS or text == "valid_rmse"
    }
    assert not spoken


def names_and_literals(tree: ast.AST) -> Iterator[str]:
    """What code names, and texts that are names; prose is free."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=text) | ast.Attribute(attr=text) | ast.arg(arg=text):
                yield text
            case ast.FunctionDef(name=text) | ast.ClassDef(name=text) | ast.keyword(arg=str(text)):
                yield text
            case ast.Constant(value=str(text)) if text.isidentifier():
                yield text


def test_a_module_that_only_its_package_uses_has_an_underscore() -> None:
    public = (REPOSITORY / "pyproject.toml").read_text() + (PACKAGE / "__init__.pyi").read_text()
    public += "".join(file.read_text() for file in (REPOSITORY / "benchmarks").glob("*.py"))
    lab = (PACKAGE / "cli" / "lab.py").read_text()
    for name in modules():
        package, _, own = name.rpartition(".")
        outside = {user for user, used in imports().items() if name in used and user != package}
        outside = {user for user in outside if not user.startswith(f"{package}.")}
        named = f".{name} import" in public or f"taxi_nb.{name}:" in public
        named |= f'"taxi_nb.{name}=True"' in lab  # What the Jupyter server is told to load.
        # Logged models name its classes.
        named |= package == "models" and f'".{own}.' in (PACKAGE / "models/specs.py").read_text()
        if own.startswith("_") and package:
            assert not outside, f"{name} is used by {outside}"
        elif package and package != "cli" and (PACKAGE / package.replace(".", "/")).is_dir():
            is_package = modules()[name].name == "__init__.py"
            assert outside or named or is_package, f"only {package} uses {name}"


def test_no_message_names_what_a_project_may_not_have() -> None:
    """Makefiles differ: `taxi_nb.project.command` knows what a person types here."""
    messages = [file for kind in ("*.py", "*.html") for file in PACKAGE.rglob(kind)]
    for file in messages:
        found = re.findall(r"\(make [a-z-]+\)|<code>make |nyc-taxi-experiment", file.read_text())
        assert not found, file


def test_packages_say_what_they_give_and_nothing_else() -> None:
    for name, file in modules().items():
        if file.name == "__init__.py" and name not in {*DOORS, "cli"}:
            tree = ast.parse(file.read_text())
            assert ast.get_docstring(tree), name
            assert len(tree.body) == 1, (
                f"{name} imports: its modules are imported from where they are"
            )


def test_few_modules_are_loose() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 8


def test_the_tests_have_the_same_rooms() -> None:
    tests = REPOSITORY / "tests"
    folders = {file.relative_to(tests).parts[0] for file in tests.rglob("*/test_*.py")}
    assert folders <= set(ROOMS)
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} <= folders


@pytest.mark.parametrize(
    "statement", ["import taxi_nb", "import taxi_nb.cli", "import taxi_nb.pipeline.spec"]
)
def test_importing_is_cheap(statement: str) -> None:
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(done.stdout.split())


def test_planning_imports_nothing_heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("notebooks", "params"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    script = (
        "import sys\nfrom taxi_nb.cli import app\n"
        "app(['plan', 'params/smoke.yaml'], standalone_mode=False)\nprint(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "06_register" in done.stdout
    assert not HEAVY & set(done.stdout.split())


def test_every_public_name_can_be_imported() -> None:
    public = list(dir(taxi_nb))
    assert "train" in public
    assert "plots" in public
    for name in public:
        assert not name.startswith("_")
        assert getattr(taxi_nb, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        getattr(taxi_nb, "nothing")  # noqa: B009 - for the type checker there is none

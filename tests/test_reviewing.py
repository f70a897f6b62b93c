"""What a reviewer of a change to notebooks sees, and what a commit may not carry."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

BIN = REPOSITORY / ".venv" / "bin"


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of one notebook, with the project's set-up for git."""
    monkeypatch.setenv("PRE_COMMIT_HOME", str(tmp_path / "pre-commit"))
    root = tmp_path / "checkout"
    for name in ("Makefile", ".gitattributes", ".pre-commit-config.yaml", "pyproject.toml"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / name, root)
    (root / "notebooks").mkdir()
    shutil.copy(REPOSITORY / "notebooks" / "01_ingest.ipynb", root / "notebooks")
    # Imports are sorted by what is the project's own.
    (root / "taxi_nb").mkdir()
    (root / "taxi_nb" / "__init__.py").touch()
    (root / "tests").mkdir()
    shutil.copy(REPOSITORY / "tests" / "notebooks_are_clean.py", root / "tests")
    (root / ".venv").symlink_to(REPOSITORY / ".venv")
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "--message=first")
    return root


def git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    identity = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    return subprocess.run(
        ["git", *identity, *arguments], cwd=root, capture_output=True, text=True, timeout=60
    )


def change(root: Path, **to: object) -> None:
    """Change the notebook's last code cell."""
    path = root / "notebooks" / "01_ingest.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[-1].update(to)
    nbformat.write(notebook, path)


def test_make_diff_shows_prose_and_code_and_no_json(checkout: Path) -> None:
    change(checkout, source="the_new_line = 1", execution_count=7)
    done = subprocess.run(
        ["make", "--no-print-directory", "diff", "-o", "setup", f"BIN={'.venv/bin'}"],
        cwd=checkout,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "the_new_line = 1" in done.stdout, done.stderr
    assert "execution_count" not in done.stdout
    assert '"cells"' not in done.stdout
    assert '"source"' not in done.stdout


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"outputs": [nbformat.v4.new_output("stream", text="x")]}, "has outputs"),
        ({"execution_count": 3}, "has outputs or an execution count"),
        ({"source": "import os"}, "F401"),
        (
            {"source": "Markdown( f'**Conclusion.** {1}')"},
            "ruff format, notebooks too",
        ),
    ],
)
def test_the_hook_refuses_to_commit_it(
    checkout: Path, changed: dict[str, object], said: str
) -> None:
    subprocess.run([BIN / "pre-commit", "install"], cwd=checkout, check=True, capture_output=True)
    change(checkout, **changed)
    refused = git(checkout, "commit", "--all", "--message=untidy")
    assert refused.returncode != 0
    assert said in refused.stdout + refused.stderr
    assert git(checkout, "log", "--oneline").stdout.count("\n") == 1


def test_the_hook_lets_a_clean_notebook_pass(checkout: Path) -> None:
    subprocess.run([BIN / "pre-commit", "install"], cwd=checkout, check=True, capture_output=True)
    notebook = checkout / "notebooks" / "01_ingest.ipynb"
    notebook.write_text(notebook.read_text().replace("Why rows are left out", "Why they go"))
    done = git(checkout, "commit", "--all", "--message=tidy")
    assert done.returncode == 0, done.stdout + done.stderr

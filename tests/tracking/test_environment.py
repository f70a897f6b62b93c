"""What is known of the installed packages without reading all of their metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from taxi_nb.tracking.environment import (
    canonical,
    installed_versions,
    lock_digest,
    lock_files,
    packages_with_modules,
)


@pytest.fixture
def beside_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages on the path."""
    monkeypatch.syspath_prepend(tmp_path)
    packages_with_modules.cache_clear()
    yield tmp_path
    packages_with_modules.cache_clear()


def test_modules_have_the_packages_that_python_says(beside_others: Path) -> None:
    folder = beside_others / "Two_Names.of-1-2.0.dist-info"
    folder.mkdir()
    files = ["one_file.py,,", "folder/__init__.py,,", '"folder/a, b.py",,', "data/x.csv,,"]
    (folder / "RECORD").write_text("\n".join(files))
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: Two-Names.of_1\nVersion: 2.0\n")
    for name in ("one_file.py", "folder/__init__.py", "folder/a, b.py"):
        (beside_others / name).parent.mkdir(exist_ok=True)
        (beside_others / name).touch()
    found = packages_with_modules()
    assert found["one_file"] == found["folder"] == {"two-names-of-1"}
    assert installed_versions()["two-names-of-1"] == "2.0"
    assert found == {
        module: set(map(canonical, packages))
        for module, packages in packages_distributions().items()
    }


LOCKS = ("uv.lock", "poetry.lock", "conda-lock.yml", "requirements.txt", "requirements.lock")


@pytest.mark.parametrize("name", LOCKS)
def test_the_locks_digest_is_that_of_the_file_that_is_there(tmp_path: Path, name: str) -> None:
    assert lock_digest(tmp_path) == "none"
    (tmp_path / name).write_text("numpy==2.0\n")
    assert lock_digest(tmp_path) == hashlib.sha256(b"numpy==2.0\n").hexdigest()


def test_of_several_locks_each_counts(tmp_path: Path) -> None:
    for name in ("uv.lock", "requirements.txt", "requirements-dev.txt"):
        (tmp_path / name).write_text("numpy==2.0\n")
    names = ["uv.lock", "requirements-dev.txt", "requirements.txt"]
    assert [file.name for file in lock_files(tmp_path)] == names
    digests = {lock_digest(tmp_path)}
    for name in names:
        (tmp_path / name).write_text("numpy==2.1\n")
        digests.add(lock_digest(tmp_path))
    assert len(digests) == 4

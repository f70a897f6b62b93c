"""A run's state of the project is had again, or it is said why not."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from taxi_nb.review.verify.checkout import CheckoutError, check_out
from tests.running import run_record

RECORD = run_record()
DIFF = b"""# not known to git, and not in here:
#   part/new.txt
#   part/lost.txt
#   part/folder/
diff --git a/part/kept.txt b/part/kept.txt
--- a/part/kept.txt
+++ b/part/kept.txt
@@ -1 +1 @@
-committed
+recorded
"""


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=somebody", "-c", "user.email=somebody@example.org"]
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that is a folder of its repository, and was changed since it was committed."""
    part = tmp_path / "repository" / "part"
    part.mkdir(parents=True)
    (part / "kept.txt").write_text("committed\n")
    git(part, "init", "-q", str(part.parent))
    git(part, "add", "-A")
    git(part, "commit", "-q", "-m", "one")
    (part / "kept.txt").write_text("present\n")
    (part / "new.txt").write_text("new\n")
    (part / "folder" / "within").mkdir(parents=True)
    (part / "folder" / "within" / "file.txt").write_text("deep\n")
    return part


def test_a_commit_with_its_recorded_changes(project: Path, tmp_path: Path) -> None:
    record = replace(RECORD, commit=git(project, "rev-parse", "HEAD"), dirty=True)
    made = check_out(project, record, DIFF, tmp_path / "copy")
    assert made.root == tmp_path / "copy" / "part"
    assert (made.root / "kept.txt").read_text() == "recorded\n"
    assert (made.root / "new.txt").read_text() == "new\n"
    assert (made.root / "folder" / "within" / "file.txt").read_text() == "deep\n"
    assert made.remarks == (
        "part/new.txt was not known to git: its present content is used",
        "part/lost.txt was not known to git and is gone",
        "part/folder/ was not known to git: its present content is used",
    )


def test_a_clean_commit(project: Path, tmp_path: Path) -> None:
    record = replace(RECORD, commit=git(project, "rev-parse", "HEAD"), dirty=False)
    made = check_out(project, record, None, tmp_path / "copy")
    assert (made.root / "kept.txt").read_text() == "committed\n"
    assert made.remarks == ()
    assert git(project, "worktree", "list").count("\n") == 0


@pytest.mark.parametrize("diff", [None, b"# secrets replaced by ***: 1; this does not apply\n"])
def test_changes_that_were_not_kept_whole_are_said(
    project: Path, tmp_path: Path, diff: bytes | None
) -> None:
    record = replace(RECORD, commit=git(project, "rev-parse", "HEAD"), dirty=True)
    made = check_out(project, record, diff, tmp_path / "copy")
    assert (made.root / "kept.txt").read_text() == "present\n"
    assert made.remarks == (
        "the run's uncommitted changes were not kept whole: the present files are executed",
    )


def test_what_cannot_be_had_is_one_message(project: Path, tmp_path: Path) -> None:
    record = replace(RECORD, commit="0" * 40, dirty=False)
    with pytest.raises(CheckoutError, match="commit 0000000000 is not in this repository"):
        check_out(project, record, None, tmp_path / "copy")
    record = replace(RECORD, commit=git(project, "rev-parse", "HEAD"), dirty=True)
    with pytest.raises(CheckoutError, match="cannot be applied to their commit"):
        check_out(project, record, DIFF.replace(b"-committed", b"-other"), tmp_path / "copy")

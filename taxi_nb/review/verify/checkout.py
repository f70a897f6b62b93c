"""A scratch copy of the project, as it was when a run was made."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired

from taxi_nb.pipeline.record import RunRecord
from taxi_nb.pipeline.remote_file import is_remote
from taxi_nb.project import is_inside, write_whole
from taxi_nb.secrets.addresses import without_credentials
from taxi_nb.tracking.asking_git import Deadline, git
from taxi_nb.tracking.git import git_settings

# Made by runs and tools; a copy of the present files goes without them.
_NOT_COPIED = ("runs", "data", "mlartifacts", "mlruns", "mlflow.db*", "__pycache__", ".*")
# Words in the remarks of a diff that was changed before it was kept.
_SPOILT = ("held back", "secrets replaced", "cut after", "is not known", "too large")
# A copy may be large; it is made, not asked for.
_SECONDS = 600


class VerificationError(RuntimeError):
    """A run that cannot be verified; the message says why and what would help."""


class CheckoutError(VerificationError):
    """A state of the project that cannot be had again."""


@dataclass(frozen=True)
class Checkout:
    """A copy of the project."""

    root: Path
    state: str  # In words.
    remarks: tuple[str, ...] = ()  # How it differs from the state that the run recorded.


def check_out(project: Path, record: RunRecord, diff: bytes | None, target: Path) -> Checkout:
    """Copy the project as a run recorded it; where that is not known, as it is now.

    Nothing is written into the project or its repository. `diff` is what was not committed
    when the run was made, `target` the folder to make. A `CheckoutError` says that the commit is
    not in the repository, or that the diff does not fit it.
    """
    if record.commit is None:
        return _present(project, target, "the run was made outside git")
    # Remarks, in lines that begin with #, come before the first file.
    head, found, rest = (diff or b"").partition(b"diff --git ")
    remarks = head.decode(errors="replace").splitlines()
    is_whole = diff is not None and not any(word in line for line in remarks for word in _SPOILT)
    if record.dirty and not is_whole:
        return _present(project, target, "the run's uncommitted changes were not kept whole")
    prefix = _clone(project, record, target)
    state = f"commit {record.commit[:10]}"
    if record.dirty is None:
        unknown = "whether there were uncommitted changes is not known: the commit is executed"
        return Checkout(target / prefix, state, (unknown,))
    if not record.dirty:
        return Checkout(target / prefix, state)
    _apply(found + rest, target)
    taken = tuple(_take_untracked(_untracked(remarks), _top(project), target))
    return Checkout(target / prefix, f"{state} with the recorded uncommitted changes", taken)


def _untracked(remarks: Iterable[str]) -> Iterator[str]:
    """Yield the files that a diff names as not known to git: they are not in it."""
    is_below = False
    for remark in remarks:
        if remark.startswith("#   ") and is_below:
            yield remark.removeprefix("#   ")
        else:
            is_below = "not known to git" in remark


def _take_untracked(paths: Iterable[str], top: Path, target: Path) -> Iterator[str]:
    """Copy files and folders that git did not know from where they are now; say so of each."""
    for path in paths:
        here = top / path
        if here.is_dir():  # Git names a folder of which it knows nothing, not what is in it.
            known = _git(top, "ls-files", "-z", "--others", "--exclude-standard", "--", path).stdout
            files = [name for name in os.fsdecode(known).split("\0") if name]
        else:
            files = [path] if here.is_file() else []
        for file in files:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            if (top / file).is_file():
                shutil.copyfile(top / file, target / file)
        if here.exists():
            yield f"{path} was not known to git: its present content is used"
        else:
            yield f"{path} was not known to git and is gone"


def _present(project: Path, target: Path, reason: str) -> Checkout:
    shutil.copytree(project, target, ignore=shutil.ignore_patterns(*_NOT_COPIED), symlinks=True)
    return Checkout(target, "the present files", (f"{reason}: the present files are executed",))


def _clone(project: Path, record: RunRecord, target: Path) -> str:
    """Make a copy of the repository at a commit; return where in it the project is.

    Not a `git worktree`: what is left of one after a kill stays in the project's repository.
    """
    commit = str(record.commit)
    found = _git(project, "cat-file", "-e", f"{commit}^{{commit}}")
    if found.returncode:
        raise CheckoutError(
            f"the run's commit {commit[:10]} is not in this repository; `git fetch` it, or verify "
            "where it is"
        )
    prefix = _git(project, "rev-parse", "--show-prefix").stdout.decode().strip()
    clone = ["clone", "--quiet", "--shared", "--no-checkout", str(_top(project)), str(target)]
    # On a branch of the same name: runs say which.
    branch = record.branch if record.branch and record.branch.isprintable() else ""
    named = [] if branch.startswith(("(", "HEAD")) or not branch else ["-B", branch]
    check_out = ["-C", str(target), "checkout", "--quiet", *(named or ["--detach"]), commit]
    for arguments in (clone, check_out):
        done = _git(project, *arguments)
        if done.returncode:
            raise CheckoutError(f"commit {commit[:10]}: {_last_line(done.stderr)}")
    # Runs in the copy log the user and the remotes that the project's runs log.
    _git(target, "remote", "remove", "origin")
    for name, value in git_settings(project).items():
        if not name.startswith("branch."):
            _git(target, "config", name, without_credentials(value))
    return prefix


def _top(project: Path) -> Path:
    return Path(_git(project, "rev-parse", "--show-toplevel").stdout.decode().strip())


def _apply(diff: bytes, target: Path) -> None:
    if not diff:
        return
    done = _git(target, "apply", "--whitespace=nowarn", "-", input=diff)
    if done.returncode:
        raise CheckoutError(
            "the recorded uncommitted changes cannot be applied to their commit "
            f"({_last_line(done.stderr)})"
        )


def _git(folder: Path, *arguments: str, input: bytes = b"") -> CompletedProcess[bytes]:
    try:
        return git(folder, *arguments, input=input, deadline=Deadline(_SECONDS))
    except OSError as error:
        raise CheckoutError(f"git is needed for the run's commit: {error}") from None
    except TimeoutExpired:
        raise CheckoutError(f"git {arguments[0]} took longer than {_SECONDS} s") from None


def _last_line(message: bytes) -> str:
    lines = message.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "git failed"


def link_files(
    paths: Iterable[str], written: Collection[str], project: Path, scratch: Path
) -> None:
    """Link files into a copy that steps read and git does not have; not what a step wrote."""
    for shown in paths:
        if is_remote(shown) or not is_inside(shown) or shown in written:
            continue
        here, there = project / shown, scratch / shown
        if here.is_file() and not there.exists():
            there.parent.mkdir(parents=True, exist_ok=True)
            there.symlink_to(here)


def ignore_in(root: Path, name: str) -> None:
    """Let git not see a file that is put into a copy: its runs would call the copy dirty."""
    found = _git(root, "rev-parse", "--git-path", "info/exclude")
    if found.returncode == 0:
        exclude = root / found.stdout.decode().strip()
        exclude.parent.mkdir(parents=True, exist_ok=True)
        with exclude.open("a", encoding="utf-8") as file:
            file.write(f"\n{name}\n")


def without_store(pipeline_file: Path) -> None:
    """Take out of a pipeline file where runs and artifacts go: a copy must not write there."""
    text = pipeline_file.read_text("utf-8")
    places = re.compile(r"^(tracking_uri|artifact_root)\s*:.*$", re.MULTILINE)
    # In place of the name: where it is a link, what it names is no copy.
    write_whole(pipeline_file, places.sub("", text))

"""The project's state in git: its commit, branch and changes, asked once for one moment."""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from taxi_nb.secrets.addresses import without_credentials
from taxi_nb.secrets.literals import looks_secret, scrubbed
from taxi_nb.tracking.asking_git import SECONDS, Deadline, command_of_git, end_git, git, started_git

# A diff beyond this is cut: a reader wants to know what was changed, not the data in it.
MAX_DIFF = 500_000
# Git would go through all of a larger file, for seconds, and say that it differs.
_LARGEST_FILE = 20_000_000
_IGNORING = "--ignore-submodules=dirty"  # A submodule has settings of its own.
# What an image of the project is told when it is built: it has no checkout to ask.
COMMIT_VARIABLE = "TAXI_NB_COMMIT"
_STATUS = ("status", "--porcelain=v2", "--branch", "-z", _IGNORING)

Kind = Literal["changed", "added", "deleted", "untracked"]


@dataclass(frozen=True)
class Change:
    """A file that differs from the commit; its path is the repository's."""

    path: str
    kind: Kind


@dataclass(frozen=True)
class GitState:
    """A checkout's commit, branch and changes.

    Where there is no commit, `missing` says why. The branch is ``(detached)`` where a commit is
    checked out by itself, and empty where an image names its commit; the remote is the branch's,
    else ``origin``, else the first.
    """

    folder: Path
    commit: str | None
    missing: str = ""
    branch: str = ""
    remote: str | None = None
    user: str | None = None
    changes: tuple[Change, ...] = ()
    is_known: bool = True  # Else git did not say in time what differs; `missing` says so.
    seconds_left: float = 0

    @property
    def is_dirty(self) -> bool:
        """Whether anything differs from the commit, files that git does not know included.

        What is not known is taken to differ.
        """
        return bool(self.changes) or not self.is_known

    @cached_property
    def diff(self) -> str:
        """The differences from the commit, for a person and for ``git apply``.

        Notebooks are compared without outputs. Lines with ``#`` at the top name the files that
        are not in it, how many secrets were replaced, and where it was cut.
        """
        if not self.is_known:
            return f"# what differs is not known: {self.missing}\n"
        if not self.is_dirty:
            return ""
        try:
            return _diff_text(self, Deadline(self.seconds_left))
        except (OSError, subprocess.SubprocessError) as error:
            return f"# what differs is not known: {_reason(error)}\n"


def git_state(folder: Path) -> GitState:
    """Ask git for the state of the checkout that a folder is in, for 10 s at most."""
    deadline = Deadline()
    settings = git_settings(folder)
    user = settings.get("user.name")
    try:
        status = _asked(folder, *_STATUS, deadline=deadline)
    except subprocess.TimeoutExpired as error:
        return _state_without_changes(folder, settings, _reason(error))
    except (OSError, subprocess.SubprocessError) as error:
        return _state_of_image(folder, _reason(error), user)
    fields = status.split("\0")
    headers = {field.split(" ")[1]: field for field in fields if field.startswith("# ")}
    commit = headers.get("branch.oid", "(initial)").removeprefix("# branch.oid ")
    branch = headers.get("branch.head", "").removeprefix("# branch.head ")
    if commit != "(initial)" and not _tracks(folder, deadline):
        missing = "the git checkout that it lies in does not track the project's files"
        return GitState(folder, None, missing=missing, user=settings.get("user.name"))
    return GitState(
        folder,
        None if commit == "(initial)" else commit,
        missing="nothing is committed yet" if commit == "(initial)" else "",
        branch=branch,
        remote=_remote(settings, branch),
        user=user,
        changes=tuple(_changes([field for field in fields if not field.startswith("# ")])),
        seconds_left=deadline.seconds,
    )


def _state_of_image(folder: Path, reason: str, user: str | None) -> GitState:
    """Return the commit that an image says it was built from; none where it says nothing.

    A checkout that git cannot be asked about is no part of the image: it may be at any commit.
    """
    stated = os.environ.get(COMMIT_VARIABLE, "")
    if not stated or any((place / ".git").exists() for place in (folder, *folder.parents)):
        return GitState(folder, None, missing=reason, user=user)
    found = re.fullmatch(r"([0-9a-f]{40}|[0-9a-f]{64})(-dirty)?", stated)
    if found is None:
        missing = f"{COMMIT_VARIABLE} is no commit: {stated[:80]!r}"
        return GitState(folder, None, missing=missing, user=user)
    missing = f"there is no checkout; {COMMIT_VARIABLE} says of what the image was built"
    if found[2]:
        missing += ", and that there were uncommitted changes"
    return GitState(folder, found[1], missing, user=user, is_known=False)


def _tracks(folder: Path, deadline: Deadline) -> bool:
    """Whether git knows the project's files: a checkout further out may ignore the folder."""
    code = [name for name in ("notebooks", "params") if (folder / name).is_dir()]
    try:
        return bool(_asked(folder, "ls-files", "-z", "--", *code, deadline=deadline))
    except (OSError, subprocess.SubprocessError):
        return False


def _state_without_changes(folder: Path, settings: dict[str, str], reason: str) -> GitState:
    """Return the commit, which is known at once, where asking for all changes took too long."""
    try:
        asked = ("rev-parse", "HEAD", "--abbrev-ref", "HEAD")
        commit, branch = _asked(folder, *asked, deadline=Deadline(1)).split()
    except (OSError, ValueError, subprocess.SubprocessError):
        return GitState(folder, None, missing=reason, user=settings.get("user.name"))
    branch = "(detached)" if branch == "HEAD" else branch
    remote, user = _remote(settings, branch), settings.get("user.name")
    return GitState(folder, commit, reason, branch, remote, user, is_known=False)


def _asked(folder: Path, *arguments: str, deadline: Deadline | None = None) -> str:
    done = git(folder, *arguments, deadline=deadline)
    done.check_returncode()
    return _text(done.stdout)


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "git is not installed"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"git did not answer within {SECONDS} s"
    if not isinstance(error, subprocess.CalledProcessError):
        return f"git did not answer: {type(error).__name__}"
    message = _text(error.stderr).strip()
    if "not a git repository" in message:
        return "not a git checkout"
    return message.splitlines()[0] if message else "git failed"


def is_in_no_remote(folder: Path, commit: str) -> bool:
    """Whether this repository has a commit that none of its remotes is known to have."""
    try:
        found = git(folder, "cat-file", "-e", f"{commit}^{{commit}}")
        branches = git(folder, "branch", "--remotes", "--contains", commit)
    except (OSError, subprocess.SubprocessError):
        return False
    return found.returncode == branches.returncode == 0 and not branches.stdout


def python_changed_since(folder: Path, commit: str) -> list[str] | None:
    """Return the Python files that git knows and that differ from a commit; None if it is not here.

    Those of a project alone, where it is part of a repository; their paths are the project's.
    """
    asked = ("diff", "--name-only", "-z", "--relative", _IGNORING, commit, "--", "*.py")
    try:
        return [path for path in _asked(folder, *asked).split("\0") if path]
    except (OSError, subprocess.SubprocessError):
        return None


def files_not_in(folder: Path, commit: str, paths: Sequence[str]) -> set[str]:
    """Return those of some paths of a project that a commit lacks; none if it is not here."""
    asked = [f"{commit}^{{commit}}", *(f"{commit}:./{path}" for path in paths)]
    try:
        found = git(folder, "cat-file", "--batch-check", input="\n".join(asked).encode())
    except (OSError, subprocess.SubprocessError):
        return set()
    answers = [not line.endswith("missing") for line in _text(found.stdout).splitlines()]
    if len(answers) != len(asked) or not answers[0]:
        return set()
    return {path for path, is_there in zip(paths, answers[1:], strict=True) if not is_there}


@cache
def git_settings(folder: Path) -> dict[str, str]:
    """Return the user, the remotes and the branches' remotes, asked once in a process."""
    wanted = r"^(user\.name|remote\..*\.url|branch\..*\.remote)$"
    try:
        settings = _asked(folder, "config", "--null", "--get-regexp", wanted)
    except (OSError, subprocess.SubprocessError):
        return {}
    entries = (entry.partition("\n") for entry in settings.split("\0") if entry)
    return {name: value for name, _, value in entries}


def _remote(settings: dict[str, str], branch: str) -> str | None:
    others = (name.split(".")[1] for name in settings if name.startswith("remote."))
    for name in (settings.get(f"branch.{branch}.remote"), "origin", *others):
        if url := settings.get(f"remote.{name}.url"):
            # The user of ssh is `git`, no secret; the address is of no use without.
            user = "git@" if url.startswith("ssh://git@") else ""
            return without_credentials(url).replace("://", f"://{user}", 1)
    return None


def _changes(fields: Sequence[str]) -> Iterator[Change]:
    """Read the entries of ``git status --porcelain=v2 -z``."""
    remaining = iter(fields)
    for field in remaining:
        match field[:2]:
            case "? ":
                yield Change(field[2:], "untracked")
            case "1 " | "u ":
                _, states, *_, path = field.split(" ", 8 if field[0] == "1" else 10)
                kind: Kind = "added" if "A" in states else "changed"
                yield Change(path, "deleted" if "D" in states else kind)
            case "2 ":
                new = field.split(" ", 9)
                yield Change(next(remaining), "deleted")
                yield Change(new[-1], "added")


def _diff_text(state: GitState, deadline: Deadline) -> str:
    shown = _asked(state.folder, "rev-parse", "--show-toplevel", deadline=deadline)
    top = Path(shown.rstrip("\n"))
    notes: list[str] = []
    held_back = [c.path for c in state.changes if _may_hold_secrets(c.path)]
    if untracked := [c.path for c in state.changes if c.kind == "untracked"]:
        notes += ["not known to git, and not in here:", *(f"  {path}" for path in untracked)]
    if named := sorted({*held_back} - {*untracked}):
        notes += ["held back, for secrets by their names:", *(f"  {path}" for path in named)]
    if large := [c.path for c in state.changes if _size(top / c.path) > _LARGEST_FILE]:
        notes += ["too large, and not in here:", *(f"  {path}" for path in sorted(large))]
        held_back += large
    parts = []
    if state.commit:
        tracked = [c for c in state.changes if c.path not in {*untracked, *held_back}]
        notebooks = [change for change in tracked if change.path.endswith(".ipynb")]
        # The notebooks first: they are few and small.
        of_notebooks = list(_notebook_diffs(top, notebooks, notes, deadline))
        parts = [_plain_diff(top, held_back, deadline, notes), *of_notebooks]
    text, secrets = scrubbed("".join(parts))
    if secrets:
        notes.append(f"secrets replaced by ***: {secrets}; this does not apply as it is")
    if len(text) > MAX_DIFF:
        kept = text.rfind("\n", 0, MAX_DIFF) + 1
        notes.append(f"cut after {kept:,} characters; it goes on")
        text = text[:kept] + "# cut here\n"
    return "".join(f"# {note}\n" for note in notes) + text


def _size(file: Path) -> int:
    return file.lstat().st_size if file.is_file() else 0


def _may_hold_secrets(path: str) -> bool:
    file = Path(path)
    endings = {".env", ".key", ".pem", ".p12", ".pfx"}
    return (
        file.suffix.lower() in endings
        or file.name.lower().startswith((".env", "id_rsa", "id_ed25519", ".netrc"))
        or (looks_secret(file.stem) and file.suffix not in (".py", ".md", ".ipynb"))
    )


def _plain_diff(top: Path, held_back: Sequence[str], deadline: Deadline, notes: list[str]) -> str:
    """Return git's own diff of all but notebooks, and no more of it than will be kept."""
    command = [*command_of_git(top, deadline), "diff", "HEAD", "--no-ext-diff", "--no-textconv"]
    command += [_IGNORING, "--no-color", "--no-renames", "--", ".", ":(exclude)*.ipynb"]
    command += [f":(exclude,literal){path}" for path in held_back]
    with started_git(command, subprocess.DEVNULL) as process:
        assert process.stdout is not None
        ending = threading.Timer(deadline.seconds, end_git, [process])
        ending.start()
        output = process.stdout.read(2 * MAX_DIFF)
        ending.cancel()
        end_git(process)
    if deadline.is_over:
        notes.append(f"cut after {len(output):,} bytes: git took longer than {SECONDS} s")
        output = output[: output.rfind(b"\n") + 1]
    return _text(output)


def _notebook_diffs(
    top: Path, notebooks: Sequence[Change], notes: list[str], deadline: Deadline
) -> Iterator[str]:
    old_ones = [change.path for change in notebooks if change.kind != "added"]
    committed = _committed(top, old_ones, deadline)
    for change in notebooks:
        old = committed.get(change.path)
        file = top / change.path
        new = file.read_bytes() if file.is_file() else None
        diff = _notebook_diff(change.path, old, new)
        if not diff:
            notes.append(f"only outputs differ: {change.path}")
        yield diff


def _committed(top: Path, paths: Sequence[str], deadline: Deadline) -> dict[str, bytes]:
    """Return what the commit has of some files, from one process."""
    if not paths:
        return {}
    asked = "".join(f"HEAD:{path}\n" for path in paths).encode()
    rest = git(top, "cat-file", "--batch", input=asked, deadline=deadline).stdout
    found = {}
    for path in paths:
        header, _, rest = rest.partition(b"\n")
        if header.endswith(b" missing"):
            continue
        size = int(header.rsplit(b" ", 1)[1])
        found[path], rest = rest[:size], rest[size + 1 :]
    return found


def _notebook_diff(path: str, old: bytes | None, new: bytes | None) -> str:
    before, after = (None if side is None else without_outputs(side) for side in (old, new))
    if before == after:
        return ""
    mode = "new file mode 100644\n" if before is None else "deleted file mode 100644\n"
    heading = f"diff --git a/{path} b/{path}\n" + (mode if None in (before, after) else "")
    lines = difflib.unified_diff(
        _text(before or b"").splitlines(keepends=True),
        _text(after or b"").splitlines(keepends=True),
        "/dev/null" if before is None else f"a/{path}",
        "/dev/null" if after is None else f"b/{path}",
    )
    return heading + "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def without_outputs(notebook: bytes) -> bytes:
    """Return a notebook's file without outputs and execution counts; as it is where it has none."""
    try:
        content: dict[str, Any] = json.loads(notebook)
        cells = [cell for cell in content["cells"] if cell.get("cell_type") == "code"]
    except (ValueError, TypeError, KeyError):
        return notebook
    if not any(cell.get("outputs") or cell.get("execution_count") for cell in cells):
        return notebook
    for cell in cells:
        cell.update(outputs=[], execution_count=None)
        # Jupyter notes there when a cell was executed.
        cell.get("metadata", {}).pop("execution", None)
    return (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode()

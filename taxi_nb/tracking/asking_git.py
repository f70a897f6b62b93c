"""Asking git without executing what a checkout's configuration names, and not for long."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

# In all, for one answer.
SECONDS = 10

# What a checkout's own configuration, or a user's, could have git execute. The command line comes
# before all files of settings, those that they include among them.
_NOTHING_TO_RUN = (
    *("core.fsmonitor=false", f"core.hooksPath={os.devnull}", "core.pager=cat"),
    *("core.sshCommand=false", "core.askPass=true", "credential.helper=", "gpg.program=false"),
    *("log.showSignature=false", "protocol.ext.allow=never", "gc.auto=0", "maintenance.auto=false"),
)
_HARMLESS = {
    "GIT_OPTIONAL_LOCKS": "0",  # Another git is not disturbed.
    "LC_ALL": "C",  # Messages are in English.
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_PAGER": "cat",
}
_PROGRAMS = ("GIT_EXTERNAL_DIFF", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_ASKPASS", "GIT_PROXY_COMMAND")
# These are named freely, so the checkout is asked for its own. A user's own, such as Git LFS, stay.
_NAMED_PROGRAMS = r"^(filter\..*\.(clean|smudge|process)|diff\..*\.(command|textconv))$"


class Deadline:
    """How long git may be asked in all for one answer."""

    def __init__(self, seconds: float | None = None) -> None:
        self._end = time.monotonic() + (SECONDS if seconds is None else seconds)
        # How commands of this answer begin, by folder: asked once for all of them.
        self.beginnings: dict[Path, list[str]] = {}

    @property
    def is_over(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self._end

    @property
    def seconds(self) -> float:
        """The seconds that are left; hardly any once they are over."""
        return max(self._end - time.monotonic(), 0.01)


def git(
    folder: Path, *arguments: str, input: bytes = b"", deadline: Deadline | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run git in a folder until a deadline, by default 10 s away.

    Nothing that the checkout's configuration names is executed: hooks, monitors, filters, pagers.
    An `OSError` says that git is missing, a `subprocess.TimeoutExpired` that it took too long.
    """
    deadline = deadline or Deadline()
    return _answer([*command_of_git(folder, deadline), *arguments], input, deadline)


def _answer(
    command: list[str], input: bytes, deadline: Deadline
) -> subprocess.CompletedProcess[bytes]:
    with started_git(command) as process:
        try:
            output, errors = process.communicate(input, timeout=deadline.seconds)
        except BaseException:
            end_git(process)
            raise
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def command_of_git(folder: Path, deadline: Deadline) -> list[str]:
    """Return the beginning of a command of git that executes nothing of the checkout's."""
    if folder not in deadline.beginnings:
        deadline.beginnings[folder] = _beginning(folder, deadline)
    return deadline.beginnings[folder]


def _beginning(folder: Path, deadline: Deadline) -> list[str]:
    begin = ["git", "-C", str(folder), "--no-pager"]
    for setting in _NOTHING_TO_RUN:
        begin += ["-c", setting]
    asked = [*begin, "config", "--null", "--show-scope", "--name-only", "--get-regexp"]
    found = _answer([*asked, _NAMED_PROGRAMS], b"", deadline).stdout
    scopes_and_names = found.decode("utf-8", "replace").split("\0")
    for scope, name in zip(scopes_and_names[::2], scopes_and_names[1::2], strict=False):
        if scope in ("local", "worktree"):
            begin += ["-c", f"{name}="]
            if name.startswith("filter."):  # A filter that must work would be missed.
                begin += ["-c", f"{name.rpartition('.')[0]}.required=false"]
    return begin


def started_git(command: Sequence[str], errors: int = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """Start git in a group of its own, so that what it starts ends with it."""
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=errors,
        start_new_session=True,
        env={**{n: v for n, v in os.environ.items() if n not in _PROGRAMS}, **_HARMLESS},
    )


def end_git(process: subprocess.Popen[bytes]) -> None:
    """Kill git and what it has started."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)

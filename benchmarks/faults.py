"""Inject faults of many kinds into a small project, and see that all ends as it should.

    python -m benchmarks.faults [--only WORD] [--skip N] [--workers 2]

Each kind starts from the same project, in which two steps were run and are up to date. A fault is
injected and a command carried out: its exit code and its words have to be those that are expected,
soon, without a traceback. Then the fault is taken away, if that is a person's to do, and the
pipeline is run: its result has to be right, run.json, MLflow and page have to agree, nothing may
be left to do, and nothing outside the project may have changed. What is wrong is counted as lost,
falsely done, falsely dead, blocked, hung, traceback or insecure; all are to be 0.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from queue import Queue

import psutil

from benchmarks.kills import disagreements, make_project, open_runs

WRONG = ("lost", "falsely done", "falsely dead", "blocked", "hung", "traceback", "insecure")
STEPS = 2
RUN, PLAN = ("run", "params/chain.yaml"), ("plan", "params/chain.yaml")
TAXI_NB = f"{sys.executable} -m taxi_nb"

Inject = Callable[[Path], object]
# What was started meanwhile, to be ended after the command.
Started = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Fault:
    """A kind of fault and what has to become of it."""

    name: str
    inject: Inject
    command: tuple[str, ...] | str = RUN  # A text is given to the shell.
    code: int | tuple[int, ...] = 0
    says: str = ""
    says_not: str = "nothing else"
    # What a person does then, as the message says; it may return what is still wrong.
    heal: Inject = lambda root: None


def newest(root: Path) -> Path:
    """Return the folder of the newest run."""
    return (root / "runs" / "latest").resolve()


def zeros(*names: str) -> Inject:
    """Overwrite a file of the newest run by zeros, its size being the same."""

    def inject(root: Path) -> None:
        for name in names:
            file = newest(root) / name
            file.write_bytes(bytes(file.stat().st_size))

    return inject


def write(name: str, content: bytes | str = b"") -> Inject:
    """Write a file of the project, in place of what is there."""

    def inject(root: Path) -> None:
        remove(name)(root)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return inject


def remove(name: str) -> Inject:
    """Remove a file or a folder."""

    def inject(root: Path) -> None:
        path = root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    return inject


def folder(name: str) -> Inject:
    """Put a folder in a place."""
    return both(remove(name), lambda root: (root / name).mkdir())


def fifo(name: str) -> Inject:
    """Put a pipe in a place."""
    return both(remove(name), lambda root: os.mkfifo(root / name))


def link(name: str, target: str) -> Inject:
    """Put a link in a place."""
    return both(remove(name), lambda root: (root / name).symlink_to(target))


def both(*injections: Inject) -> Inject:
    """Inject several faults."""
    return lambda root: [inject(root) for inject in injections]


def kept(pattern: str, content: bytes) -> Inject:
    """Overwrite files below `runs/.results`."""

    def inject(root: Path) -> None:
        files = [path for path in (root / "runs" / ".results").glob(pattern) if path.is_file()]
        assert files, f"no {pattern}"
        for path in files:
            path.write_bytes(content)

    return inject


def artifact(do: Callable[[Path], object]) -> Inject:
    """Do something with an artifact."""
    return lambda root: do(next((root / "mlartifacts").rglob("00.ipynb")))


def half_made(root: Path) -> None:
    """Leave what a kill left of a store when its tables were made in place."""
    with closing(sqlite3.connect(root / "mlflow.db")) as store:
        (statement,) = store.execute("SELECT sql FROM sqlite_master WHERE name = 'experiments'")
    (root / "mlflow.db").unlink()
    with closing(sqlite3.connect(root / "mlflow.db")) as store:
        store.execute(statement[0])
        store.commit()


def hot_journal(root: Path) -> None:
    """Crash in the middle of a write."""
    crash = (
        "import os, sqlite3\nstore = sqlite3.connect('mlflow.db')\n"
        "store.execute('PRAGMA cache_size = 1')\n"
        "store.executemany('INSERT INTO experiment_tags VALUES (?, ?, 1)',"
        " [(f'key {n}', 'y' * 2000) for n in range(500)])\nos._exit(1)"
    )
    subprocess.run([sys.executable, "-c", crash], cwd=root, check=False)
    assert (root / "mlflow.db-journal").stat().st_size > 0


def meanwhile(code: str) -> Inject:
    """Start a Python program in the project that goes on while the command does."""

    def inject(root: Path) -> Started:
        started = subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE)
        assert started.stdout is not None
        started.stdout.readline()  # It says when it is ready.
        return started

    return inject


def holds(lock: str, seconds: float = 5) -> str:
    """Return a program that holds a lock."""
    return (
        f"import fcntl, time\nlock = open({lock!r}, 'w')\nfcntl.flock(lock, fcntl.LOCK_EX)\n"
        f"print('ready', flush=True)\ntime.sleep({seconds})"
    )


DATABASE_IN_USE = (
    "import sqlite3, time\nstore = sqlite3.connect('mlflow.db', isolation_level=None)\n"
    "store.execute('BEGIN EXCLUSIVE')\nprint('ready', flush=True)\ntime.sleep(3)"
)


def ended_by(number: signal.Signals, seconds: float) -> Inject:
    """Run the pipeline anew and end that run by a signal."""

    def inject(root: Path) -> None:
        process = start(root, (*RUN, "--force"))
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=seconds)
        process.send_signal(number)
        process.communicate(timeout=60)

    return inject


def kernel_killed(root: Path) -> None:
    """Kill the kernels of a run."""
    process = start(root, (*RUN, "--force"))
    end = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < end:
        for child in psutil.Process(process.pid).children(recursive=True)[1:]:
            with suppress(psutil.Error):
                child.kill()
        time.sleep(0.5)
    process.communicate(timeout=60)


def moved(root: Path) -> None:
    """Move the project away and use it there; then it comes back."""
    there = root.with_name(f"{root.name}-moved")
    root.rename(there)
    done = start(there, RUN)
    _, err = done.communicate(timeout=120)
    assert done.returncode == 0, err
    assert not root.exists(), "the old folder was made again"
    there.rename(root)


def copied(root: Path) -> None:
    """Use a copy of the project: the original must not change."""
    there = root.with_name(f"{root.name}-copy")
    shutil.copytree(root, there, symlinks=True)
    before = digest_of(root)
    done = start(there, RUN)
    _, err = done.communicate(timeout=120)
    shutil.rmtree(there)
    assert done.returncode == 0, err
    assert digest_of(root) == before, "the copy wrote into the original"


def others_repository(root: Path) -> None:
    """Let the project lie in a checkout that ignores it."""
    outer = root.parent
    (outer / ".gitignore").write_text("*\n!.gitignore\n")
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for arguments in (("init", "-q"), ("add", "."), (*identity, "commit", "-qm", "others")):
        subprocess.run(["git", *arguments], cwd=outer, check=True, capture_output=True)


def has_no_commit(root: Path) -> None:
    """See that the run has no commit, and take the repository away."""
    shutil.rmtree(root.parent / ".git")
    (root.parent / ".gitignore").unlink()
    record = json.loads((newest(root) / "run.json").read_text())
    assert record["commit"] is None, f"it has the commit {record['commit']} of another repository"


def left_half_file(root: Path) -> None:
    """Leave a file that was half written."""
    part = newest(root) / ".index.html.999999-abcd.part"
    part.write_text("half")
    os.utime(part, (1, 1))


def half_file_is_gone(root: Path) -> None:
    """See that it was cleared."""
    assert not list((root / "runs").glob("*/.*.part")), "a half file was left"


def left_folders(root: Path) -> None:
    """Let processes make temporary folders and be killed."""
    make = (
        "import os\nfrom taxi_nb.held_folder import HeldFolder\n"
        "from taxi_nb.models.carried import carried_code\n"
        "held = HeldFolder('verify-')\ncarried_code()\nos.kill(os.getpid(), 9)"
    )
    environment = {**os.environ, "TMPDIR": str(temporary(root))}
    subprocess.run([sys.executable, "-c", make], env=environment, check=False)
    assert len(list(temporary(root).glob("taxi-nb-*"))) == 2


def folders_are_gone(root: Path) -> None:
    """See that they were cleared."""
    assert not list(temporary(root).glob("taxi-nb-*")), "temporary folders were left"


def temporary(root: Path) -> Path:
    """Return where temporary files of a project go."""
    return root.with_name(f"{root.name}-tmp")


def page_is_whole(name: str) -> Inject:
    """See that a page is there to its end."""

    def check(root: Path) -> None:
        assert (newest(root) / name).read_text().rstrip().endswith("</html>"), f"{name} is broken"

    return check


BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)
NOTEBOOK, PARAMS = "notebooks/00.ipynb", "params/chain.yaml"


def restored(name: str) -> Inject:
    """Put back a file as it was."""
    return lambda root: (remove(name)(root), shutil.copy2(original(root) / name, root / name))


def original(root: Path) -> Path:
    """Return the project as it was."""
    return root.with_name(f"{root.name}-original")


def faults() -> Iterator[Fault]:
    """Yield every kind."""
    is_done = "nothing will run"
    # Kept files.
    for name in ("00.ipynb", "00.inputs.json"):
        yield Fault(f"{name} zeroed", zeros(name), PLAN, says="changed since", says_not=is_done)
    cut = lambda root: os.truncate(newest(root) / "00.ipynb", 100)  # noqa: E731
    yield Fault("executed notebook truncated", cut, PLAN, says="changed since", says_not=is_done)
    gone = lambda root: (newest(root) / "00.ipynb").unlink()  # noqa: E731
    yield Fault("executed notebook deleted", gone, PLAN, says="notebook is gone", says_not=is_done)
    no_page = lambda root: (newest(root) / "00.html").unlink()  # noqa: E731
    yield Fault("page of a step deleted", no_page, heal=page_is_whole("00.html"))
    yield Fault("page of a step zeroed", zeros("00.html"), heal=page_is_whole("00.html"))
    yield Fault("front page zeroed", zeros("index.html"), heal=page_is_whole("index.html"))
    yield Fault("run.json zeroed", zeros("run.json"))
    pipe = lambda root: fifo(f"runs/{newest(root).name}/run.json")(root)  # noqa: E731
    yield Fault("run.json is a pipe", pipe, heal=no_pipes)
    report = ("report",)
    yield Fault("report of a pipe", pipe, report, (1, 2), "not a run", heal=no_pipes)
    yield Fault("report of a zeroed notebook", zeros("00.ipynb"), report, (0, 1, 2))
    yield Fault("report of a zeroed record", zeros("run.json"), report, (1, 2), "record")
    yield Fault("trace of a zeroed notebook", zeros("00.ipynb"), ("trace", "latest"), (0, 1, 2))
    yield Fault("runs deleted", remove("runs"), PLAN, says="never ran")
    # What is remembered.
    yield Fault("results zeroed", kept("keys/*/*.json", bytes(99)), PLAN, says="2 of 2 steps")
    yield Fault("attempts zeroed", kept("steps/*/*.json", bytes(99)))
    yield Fault("same runs zeroed", kept("runs/*", bytes(9)))
    yield Fault("digests are garbage", kept("digests.json", b"\xff\x00{"), PLAN, says=is_done)
    odd = json.dumps({"version": 1, "files": {"content /": 3, "x": None}}).encode()
    yield Fault("digests of other types", kept("digests.json", odd), PLAN, says=is_done)
    yield Fault("note of a running run is garbage", write("runs/.running.json", b"\x00{"))
    yield Fault("note of a run that is gone", write("runs/.running.json", '{"run": "gone"}'))
    # Artifacts.
    lost = "artifacts are gone or not whole"
    yield Fault("mlartifacts deleted", remove("mlartifacts"), PLAN, says=lost, says_not=is_done)
    empty = artifact(lambda path: path.write_bytes(b""))
    yield Fault("an artifact emptied", empty, PLAN, says=lost, says_not=is_done)
    yield Fault("an artifact deleted", artifact(Path.unlink), PLAN, says=lost, says_not=is_done)
    blocked = both(remove("mlartifacts"), write("mlartifacts", "a file"))
    yield Fault("mlartifacts is a file", blocked, RUN, 1, heal=remove("mlartifacts"))
    # Outputs and inputs.
    yield Fault("an output edited", write("made_0.txt", "7"), PLAN, says="made_0.txt")
    yield Fault("an output deleted", remove("made_0.txt"), PLAN, says="made_0.txt")
    yield Fault("an output is a pipe", fifo("made_0.txt"), PLAN, says="made_0.txt",
                heal=remove("made_0.txt"))  # fmt: skip
    ahead = lambda root: os.utime(root / "made_0.txt", (4e9, 4e9))  # noqa: E731
    yield Fault("a file of the future", ahead, PLAN)
    # Folders and locks.
    yield Fault("latest is a folder", folder("runs/latest"), RUN, 1, "latest is a folder",
                heal=remove("runs/latest"))  # fmt: skip
    yield Fault("latest leads nowhere", link("runs/latest", "nowhere"))
    yield Fault("latest leads to itself", link("runs/latest", "latest"))
    yield Fault("latest is a file", write("runs/latest", "x"))
    yield Fault("runs is a file", write("runs", "x"), RUN, 1, heal=remove("runs"))
    yield Fault("the lock is a folder", folder("runs/.lock"), RUN, 1, heal=remove("runs/.lock"))
    wait = "waiting for process"
    yield Fault("the project is locked", meanwhile(holds("runs/.lock")), RUN, says=wait)
    yield Fault(
        "the store is locked for a while",
        both(remove("mlflow.db"), meanwhile(holds("mlflow.db.lock"))),
    )
    # The store.
    yield Fault("the store deleted", remove("mlflow.db"), PLAN, says="MLflow run is gone")
    yield Fault("the store is garbage", write("mlflow.db", b"no database" * 500), RUN, 1,
                "mlflow.db", heal=remove("mlflow.db"))  # fmt: skip
    yield Fault("the store is empty", write("mlflow.db"))
    yield Fault("the store is half made", half_made)
    yield Fault("the store is a folder", folder("mlflow.db"), RUN, 1, "mlflow.db",
                heal=remove("mlflow.db"))  # fmt: skip
    yield Fault("the store is a pipe", fifo("mlflow.db"), RUN, 1, "mlflow.db",
                heal=remove("mlflow.db"))  # fmt: skip
    yield Fault("a crash while the store was written", hot_journal, PLAN, says=is_done)
    yield Fault("the database is in use", meanwhile(DATABASE_IN_USE), PLAN, says=is_done)
    # What people write.
    for what, inject in {
        "a pipe": fifo(NOTEBOOK),
        "a folder": folder(NOTEBOOK),
        "zeros": write(NOTEBOOK, bytes(500)),
        "nested": write(NOTEBOOK, "[" * 100_000),
        "empty": write(NOTEBOOK),
    }.items():
        yield Fault(f"a notebook is {what}", inject, RUN, 2, "00.ipynb", heal=restored(NOTEBOOK))
    for what, inject in {
        "a pipe": fifo(PARAMS),
        "a folder": folder(PARAMS),
        "a device": link(PARAMS, "/dev/zero"),
        "a bomb": write(PARAMS, BOMB),
        "nested": write(PARAMS, "steps: " + "[" * 50_000),
        "zeros": write(PARAMS, bytes(500)),
    }.items():
        yield Fault(f"parameters are {what}", inject, RUN, 2, "chain.yaml", heal=restored(PARAMS))
    # Where it lies.
    yield Fault("the project is moved and comes back", moved)
    yield Fault("the project is copied", copied)
    yield Fault("in another's repository", both(others_repository, write("made_0.txt", "7")),
                heal=has_no_commit)  # fmt: skip
    # Ends.
    for number, seconds in zip(
        (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT),
        cycle((0.7, 2.5, 4.5)),
        strict=False,
    ):
        name = f"{number.name} after {seconds} s"
        yield Fault(name, ended_by(number, seconds))
    yield Fault("kernels killed", kernel_killed)
    # Limits and streams.
    yield Fault("24 open files", no_fault, f"ulimit -n 24; {shell(PLAN)}", 1, "open files")
    yield Fault("64 open files", no_fault, f"ulimit -n 64; {shell(PLAN)}", says=is_done)
    yield Fault("little address space", no_fault, f"ulimit -v 500000; {shell(RUN)}", 1, "ulimit -v")
    yield Fault("small files only", write("made_0.txt", "7"), f"ulimit -f 20; {shell(RUN)}", 1)
    yield Fault("no output", no_fault, f"{shell(PLAN)} >&-")
    yield Fault("no output and no errors", no_fault, f"{shell(RUN)} >&- 2>&-")
    yield Fault("no input", no_fault, f"{shell(RUN)} <&-")
    yield Fault("a full output", no_fault, f"{shell(PLAN)} > /dev/full", 1, "no space left")
    yield Fault("a reader that goes", no_fault, f"{shell(PLAN)} | head -1", says="00")
    yield Fault("a reader that is gone", no_fault, f"{shell(PLAN)} | true")
    no_proc = f"unshare -m sh -c 'mount -t tmpfs none /proc && {shell((*RUN, '--force'))}'"
    if subprocess.run(["unshare", "-m", "true"], capture_output=True).returncode == 0:
        yield Fault("no /proc", no_fault, no_proc)
    yield Fault("no place for temporary files", no_fault, f"TMPDIR=/nowhere {shell(RUN)}")
    yield Fault("a root that is not there", no_fault, f"TAXI_NB_ROOT=/nowhere {shell(PLAN)}",
                (1, 2), "TAXI_NB_ROOT")  # fmt: skip
    yield Fault("no git", no_fault, f"PATH=/nowhere {shell((*RUN, '--force'))}")
    # Leftovers.
    yield Fault("a half file in an old run", left_half_file, heal=half_file_is_gone)
    yield Fault("folders of killed processes", left_folders, PLAN, heal=folders_are_gone)


def no_fault(root: Path) -> None:
    """Change nothing: the command is the fault."""


def pipes(root: Path) -> list[Path]:
    """Return the records that are pipes."""
    return [path for path in (root / "runs").glob("*/run.json") if path.is_fifo()]


def no_pipes(root: Path) -> None:
    """Take away the records that are pipes."""
    for path in pipes(root):
        path.unlink(missing_ok=True)


def shell(command: tuple[str, ...]) -> str:
    """Return a command as a shell takes it."""
    return f"{TAXI_NB} {' '.join(command)}"


def start(root: Path, command: tuple[str, ...] | str) -> subprocess.Popen[str]:
    """Start a command in a project; files that it leaves for a while have a folder of their own."""
    is_text = isinstance(command, str)
    environment = {**os.environ, "TAXI_NB_ROOT": str(root), "TMPDIR": str(temporary(root))}
    environment |= {"COLUMNS": "200", "XDG_RUNTIME_DIR": str(temporary(root))}
    environment.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.Popen(
        command if is_text else [sys.executable, "-m", "taxi_nb", *command],
        shell=is_text,
        executable="/bin/bash" if is_text else None,
        cwd=root,
        env=environment,
        stdin=None if is_text else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def carried_out(root: Path, command: tuple[str, ...] | str) -> tuple[int | None, str]:
    """Return exit code and all the words of a command; no code if it hung."""
    process = start(root, command)
    try:
        out, err = process.communicate(timeout=100)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return None, "".join(part or "" for part in process.communicate())
    return process.returncode, f"{out}\n{err}"


def wrongs(fault: Fault, root: Path) -> Iterator[tuple[str, str]]:
    """Inject a fault and yield what does not end as it should: how it counts, and why."""
    outside = digest_of(original(root))
    try:
        started = fault.inject(root)
    except AssertionError as error:
        yield "insecure", str(error)
        return
    code, words = carried_out(root, fault.command)
    for one in started if isinstance(started, list) else [started]:
        if isinstance(one, subprocess.Popen):
            one.kill()
            one.communicate()
    expected = fault.code if isinstance(fault.code, tuple) else (fault.code,)
    if code is None:
        yield "hung", words[-300:]
    if "Traceback (most recent call last)" in words or (code is not None and code < 0):
        yield "traceback", words[-600:]
    if code not in (None, *expected):
        yield "blocked" if 0 in expected else "falsely done", f"exit code {code}: {words[-600:]}"
    if fault.says not in words or fault.says_not in words:
        yield "falsely done", f"it does not say {fault.says!r}: {words[-600:]}"
    try:
        fault.heal(root)
    except (AssertionError, OSError) as error:
        yield "lost", str(error)
    has_run = fault.command == RUN and code == 0
    yield from afterwards(root, has_run=has_run)
    if digest_of(original(root)) != outside:
        yield "insecure", "something outside the project changed"


def afterwards(root: Path, *, has_run: bool) -> Iterator[tuple[str, str]]:
    """Run to the end, if that was not done, and yield what is wrong then."""
    code, words = (0, "") if has_run else carried_out(root, RUN)
    if code != 0:
        yield "blocked", f"exit code {code} of the next run: {words[-600:]}"
        return
    value = (root / f"made_{STEPS - 1}.txt").read_text()
    record = json.loads((root / "runs" / "latest" / "run.json").read_text())
    values = [step["metrics"].get("value") for step in record["steps"]]
    if value != str(2**STEPS) or values != [2.0 ** (number + 1) for number in range(STEPS)]:
        yield "lost", f"the result is {value}, the metrics are {values}"
    for name in open_runs(root):
        yield "falsely done", f"left open: {name}"
    for line in disagreements_of_good_records(root):
        yield "falsely dead" if "KILLED in MLflow" in line else "falsely done", line
    if "nothing will run" not in (planned := carried_out(root, PLAN)[1]):
        yield "blocked", f"left to do: {planned}"


def disagreements_of_good_records(root: Path) -> list[str]:
    """Compare the records that can be read: some faults break one for good."""
    for file in (root / "runs").glob("[0-9]*/run.json"):
        try:
            json.loads(file.read_bytes())
        except ValueError:
            file.unlink()
    return disagreements(root)


def digest_of(folder: Path) -> str:
    """Return a digest of all files below a folder."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        found.update(str(path).encode())
        if path.is_file() and not path.is_symlink():
            found.update(path.read_bytes())
    return found.hexdigest()


def prepared(root: Path) -> Path:
    """Make a project, run it, and keep it aside."""
    make_project(root, STEPS, seconds=0)
    temporary(root).mkdir()
    code, words = carried_out(root, RUN)
    assert code == 0, words
    shutil.copytree(root, original(root), symlinks=True)
    return root


def main() -> None:
    """Inject all; the exit code is not zero if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", metavar="WORD", help="Kinds with this in their name.")
    parser.add_argument("--skip", type=int, default=0, metavar="N", help="The first N of them.")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    kinds = [fault for fault in faults() if given.only in fault.name][given.skip :]
    begun = time.monotonic()
    counted: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="faults-") as place:
        bases = [Path(place).resolve() / f"{number}" for number in range(given.workers)]
        for base in bases:
            base.mkdir()
        roots: Queue[Path] = Queue()

        def judge(fault: Fault) -> tuple[Fault, list[tuple[str, str]]]:
            root = roots.get()
            try:
                return fault, list(wrongs(fault, root))
            except Exception as error:
                return fault, [("blocked", f"{type(error).__name__}: {error}")]
            finally:
                shutil.rmtree(root, ignore_errors=True)
                shutil.copytree(original(root), root, symlinks=True)
                roots.put(root)

        with ThreadPoolExecutor(given.workers) as threads:
            for root in threads.map(prepared, [base / "project" for base in bases]):
                roots.put(root)
            for fault, found in threads.map(judge, kinds):
                counted.update(kind for kind, _ in found)
                print(f"{'ok ' if not found else 'BAD'} {fault.name}", flush=True)
                for kind, why in found:
                    print(f"    {kind}: {why}", flush=True)
    figures = ", ".join(f"{kind} {counted[kind]}" for kind in WRONG)
    print(f"{len(kinds)} kinds in {time.monotonic() - begun:.0f} s: {figures}")
    sys.exit(bool(counted))


if __name__ == "__main__":
    main()

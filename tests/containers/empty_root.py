"""Execute the Dockerfile's steps without an engine, each in a root of its own.

    python -m tests.containers.empty_root BASE TARGET COMMIT=$(git rev-parse HEAD)

BASE stands for the image that FROM names: a folder with a Linux that has that Python, such as
`debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm BASE` and a
link `python`, with what leads to a package index in /etc. The last stage is in TARGET/image; as
root, as `unshare` and `chroot` ask for it. What it is started with is printed.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.containers.dockerfile import assignments, copy_context, instructions

PATH = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"


@dataclass
class Stage:
    root: Path
    arguments: dict[str, str]
    variables: dict[str, str] = field(default_factory=lambda: {"PATH": PATH})
    folder: str = "/"
    user: str = "0"
    command: tuple[str, ...] = ()

    @property
    def known(self) -> dict[str, str]:
        return {**self.arguments, **self.variables}

    def inside(self, path: str) -> Path:
        return self.root / os.path.join(self.folder, path).lstrip("/")

    def line(self, command: Sequence[str], variables: Mapping[str, str]) -> list[str]:
        """Return a command line that executes a command as PID 1 of a root of its own."""
        new = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child"]
        there = [f"--root={self.root}", f"--wd={self.folder}", "--mount-proc"]
        who = ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]
        names = [f"{name}={value}" for name, value in variables.items()]
        as_whom = [*who, "--no-new-privs", "--bounding-set=-all"] if self.user != "0" else []
        return [*new, *there, *as_whom, "env", "-i", *names, *command]


def build(base: Path, target: Path, arguments: Mapping[str, str]) -> Stage:
    """Execute all stages; a step that fails is a CalledProcessError."""
    stages: dict[str, Stage] = {}
    stage = Stage(base, {})
    everywhere = dict(arguments)
    for one in instructions():
        print(f"{one.name} {one.text}"[:120], flush=True)
        words = one.words if one.name not in ("RUN", "CMD") else []
        match one.name:
            case "FROM":
                name = words[2] if len(words) > 1 else "image"
                stage = stages[name] = Stage(target / name, dict(everywhere))
                subprocess.run(["cp", "--archive", base, stage.root], check=True)
            case "ARG":
                (everywhere if not stages else stage.arguments).update(
                    assignments(one, stage.arguments)
                )
            case "ENV":
                stage.variables |= assignments(one, stage.known)
            case "WORKDIR":
                stage.folder = one.text
                stage.inside("").mkdir(parents=True, exist_ok=True)
            case "USER":
                stage.user = stage.known[one.text.lstrip("$")]
            case "COPY":
                to = stage.inside(words[-1])
                if "from" in one.options:
                    source = stages[one.options["from"]].inside(words[0])
                    shutil.copytree(source, to, symlinks=True, dirs_exist_ok=True)
                else:
                    if words[-1].endswith("/"):
                        to.mkdir(parents=True, exist_ok=True)
                    copy_context(words[:-1], to)
                if owner := one.options.get("chown"):
                    own = ["chown", "--recursive", owner, os.path.join(stage.folder, words[-1])]
                    subprocess.run(stage.line(own, stage.variables), check=True)
            case "RUN":
                outside = {n: v for n, v in os.environ.items() if n.startswith(("PIP_", "SSL_"))}
                line = stage.line(["/bin/sh", "-ec", one.text], {**outside, **stage.known})
                subprocess.run(line, check=True)
            case "CMD":
                stage.command = tuple(json.loads(one.text))
            case "LABEL" | "EXPOSE":
                pass
            case _:
                raise NotImplementedError(one.name)
    return stage


if __name__ == "__main__":
    given = dict(argument.partition("=")[::2] for argument in sys.argv[3:])
    built = build(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), given)
    print(shlex.join(built.line(built.command, built.variables)))

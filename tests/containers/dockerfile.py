"""A Dockerfile's instructions, and the files that its build is given."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template

from tests.conftest import REPOSITORY


@dataclass(frozen=True)
class Instruction:
    """Such as ``COPY`` with ``{"chown": "taxi:taxi"}`` and ``params params``."""

    name: str
    options: Mapping[str, str]
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


def instructions(file: Path = REPOSITORY / "Dockerfile") -> Iterator[Instruction]:
    """Yield what a Dockerfile says, comments and continued lines aside."""
    lines = [line for line in file.read_text().splitlines() if not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, text = line.strip().partition(" ")
            options = {}
            while found := re.match(r"--([\w-]+)=(\S+)\s+", text):
                options[found[1]] = found[2]
                text = text[found.end() :]
            yield Instruction(name, options, text.strip())


def assignments(instruction: Instruction, known: Mapping[str, str]) -> dict[str, str]:
    """Return what an ``ENV`` or an ``ARG`` sets; an ``ARG`` that was given keeps its value."""
    set_here = {}
    for word in instruction.words:
        name, _, value = word.partition("=")
        if not (instruction.name == "ARG" and name in known):
            set_here[name] = Template(value).substitute(known)
    return set_here


def image_environment(**arguments: str) -> dict[str, str]:
    """Return the variables that the last stage sets."""
    known: dict[str, str] = {}
    variables: dict[str, str] = {}
    for one in instructions():
        if one.name == "FROM":
            known, variables = {**arguments, "PATH": ""}, {}
        elif one.name in ("ARG", "ENV"):
            known |= assignments(one, known)
            if one.name == "ENV":
                variables |= {name: known[name] for name in assignments(one, known)}
    return variables


def copy_context(sources: list[str], target: Path, context: Path = REPOSITORY) -> None:
    """Copy as ``COPY`` does, with no more than .dockerignore leaves of the context.

    That file is of the plain kind: all is left out but what ``!name`` names, ``**/name`` of that.
    """
    rules = (context / ".dockerignore").read_text().split("\n")
    assert "*" in rules
    allowed = {rule[1:] for rule in rules if rule.startswith("!")}
    ignored = [rule.removeprefix("**/") for rule in rules if rule.startswith("**/")]
    for source in sources:
        assert source in allowed, f"COPY {source}: .dockerignore leaves it out"
        if (context / source).is_dir():
            skip = shutil.ignore_patterns(*ignored)
            shutil.copytree(context / source, target, ignore=skip, dirs_exist_ok=True)
        else:
            shutil.copy(context / source, target)

"""uv, and the package index, for tests that skip and say so where one of them is out of reach."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

_OUT_OF_REACH = ("Failed to fetch", "error sending request", "Could not connect")


def uv(*arguments: str) -> str:
    """Call uv and return what it prints."""
    program = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    if not Path(program).exists():
        pytest.skip("there is no uv here: make setup-dev")
    done = subprocess.run([program, *arguments], cwd=REPOSITORY, capture_output=True, text=True)
    if done.returncode and any(text in done.stderr for text in _OUT_OF_REACH):
        pytest.skip(f"no package index is within reach: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def resolved(*arguments: str) -> dict[str, str]:
    """Ask the resolver and return what it would install: name -> version."""
    said = uv("pip", "compile", "--quiet", "--no-annotate", "--no-header", *arguments)
    return dict(re.findall(r"^([a-z0-9.-]+)(?:\[.*\])?==(\S+)", said, re.MULTILINE))

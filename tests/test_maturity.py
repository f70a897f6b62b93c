"""The table of maturity: each command, option, target and file that it names is there."""

from __future__ import annotations

import re
import shlex
from typing import Any

import typer

from taxi_nb.cli import app
from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "docs" / "maturity.md").read_text()


def test_each_command_is_there_with_its_options() -> None:
    commands = re.findall(r"`taxi-nb ([^`]+)`", TEXT)
    assert len(commands) > 20
    for code in commands:
        command: Any = typer.main.get_command(app)
        words = shlex.split(code)
        while hasattr(command, "commands") and words:
            assert words[0] in command.commands, code
            command = command.commands[words.pop(0)]
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= known, code


def test_each_target_file_and_page_is_there() -> None:
    makefile = (REPOSITORY / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)", TEXT):
        assert f"\n{target}:" in makefile, target
    files = re.findall(r"`(\.github/[\w/]+\.yml|compose.yaml|Dockerfile|[\w.]+\.lock)`", TEXT)
    pages = [f"docs/{link}" for link in re.findall(r"\]\(([\w./-]+\.md)", TEXT)]
    assert files
    assert pages
    for file in [*files, *pages]:
        assert (REPOSITORY / file).exists(), file


def test_a_row_that_is_not_met_says_why() -> None:
    rows = [line for line in TEXT.splitlines() if line.startswith("|")]
    unmet = [row for row in rows if re.search(r"\bnot met\b", row, re.IGNORECASE)]
    assert len(unmet) > 8
    for row in unmet:
        assert "because" in row or "as at level 2" in row, row

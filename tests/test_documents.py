"""README, docs/ and `--help`: each command, option, target, link and origin in them is there."""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer

import taxi_nb
from taxi_nb.cli import app
from tests.conftest import REPOSITORY

PAGES = {
    file.relative_to(REPOSITORY).as_posix(): file.read_text("utf-8")
    for file in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
}
each_page = pytest.mark.parametrize("page", PAGES)


def blocks(text: str, *languages: str) -> list[str]:
    """What stands in fenced blocks of these languages."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [body for language, body in found if language in languages]


def prose(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def sections(text: str) -> list[str]:
    """The parts between headings; what a block of code begins with `#` is no heading."""
    cut, is_code = [[]], False  # type: list[list[str]], bool
    for line in text.splitlines():
        is_code ^= line.startswith("```")
        if line.startswith("#") and not is_code:
            cut.append([])
        cut[-1].append(line)
    return ["\n".join(lines) for lines in cut]


def anchors(text: str) -> set[str]:
    """How GitHub names the headings of a page."""
    heads = (part.partition("\n")[0].lstrip("# ") for part in sections(text))
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def commands(text: str) -> Iterator[str]:
    """The calls of `taxi-nb` in code, each without what a shell makes of it."""
    code = [*re.findall(r"`([^`\n]+)`", prose(text)), *blocks(text, "sh", "bash", "console")]
    for line in "\n".join(code).replace("\\\n", " ").splitlines():
        line = re.split(r"\s#|[|;&)]| > ", line.removeprefix("$ "))[0]
        if found := re.search(r"(?<![\w/=-])(?:\.venv/bin/)?taxi-nb ([a-z-].*)", line):
            yield found[1].strip()


def require_known(call: str) -> None:
    """Fail if a call names a command or an option that there is not."""
    command: Any = typer.main.get_command(app)
    try:
        words = shlex.split(call)
    except ValueError:  # It stands within quotes of another shell.
        words = call.split()
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, call
        command = command.commands[words.pop(0)]
    with command.make_context("taxi-nb", [], resilient_parsing=True) as context:
        known = {option for one in command.get_params(context) for option in one.opts}
    own = words[: words.index("--")] if "--" in words else words
    given = {word.partition("=")[0] for word in own if word.startswith("-")}
    assert given <= known, call


@each_page
def test_each_link_leads_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(PAGES[page])):
        if link.startswith("https://"):
            continue
        name, _, place = link.partition("#")
        target = ((REPOSITORY / page).parent / name).resolve() if name else REPOSITORY / page
        assert target.exists(), link
        if place:
            assert place in anchors(target.read_text("utf-8")), link


@each_page
def test_each_command_is_there_with_its_options(page: str) -> None:
    for call in commands(PAGES[page]):
        require_known(call)


def test_commands_are_found_in_the_pages() -> None:
    assert len({call for text in PAGES.values() for call in commands(text)}) > 60
    with pytest.raises(AssertionError, match="runn"):
        require_known("runn params/default.yaml")
    with pytest.raises(AssertionError, match="--nothing"):
        require_known("run --nothing")


@each_page
def test_each_target_of_make_is_there_with_its_variables(page: str) -> None:
    makefile = (REPOSITORY / "Makefile").read_text("utf-8")
    read = set(re.findall(r"\$[({](?:or )?(?:\$\()?([A-Z_]+)", makefile))
    read |= set(re.findall(r"\$\{([A-Z_]+)", (REPOSITORY / "compose.yaml").read_text("utf-8")))
    code = "\n".join(
        [*re.findall(r"`([^`\n]+)`", PAGES[page]), *blocks(PAGES[page], "sh", "console")]
    )
    for target, rest in re.findall(r"(?:^|[\s=])make ([a-z][a-z-]*)([^\n#]*)", code, re.MULTILINE):
        assert f"\n{target}:" in makefile, target
        for variable in re.findall(r"\b([A-Z_]{3,})=", rest):
            assert variable in read, variable


@each_page
def test_each_table_of_figures_says_which_command_makes_it(page: str) -> None:
    for part in sections(PAGES[page]):
        cells = re.findall(r"\|\s*[-+\d.,→ %x/]*\d\.\d[^|]*(?=\|)", prose(part))
        if len(cells) > 3:
            assert re.search(r"`python -m benchmarks\.\w+|`tests/", part), part.partition("\n")[0]


@each_page
def test_each_benchmark_is_there(page: str) -> None:
    for name in re.findall(r"benchmarks[./](\w+)", PAGES[page]):
        assert (REPOSITORY / "benchmarks" / f"{name}.py").exists() or name == "md", name


@each_page
def test_python_in_the_pages_uses_names_that_are_there(page: str) -> None:
    for block in blocks(PAGES[page], "python"):
        code = "\n".join(line for line in block.splitlines() if not line.startswith("%"))
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and node.module == "taxi_nb":
                assert {name.name for name in node.names} <= {*dir(taxi_nb)}, block


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    text = PAGES["README.md"]
    assert len(text.splitlines()) <= 130
    pages = {name for name in PAGES if name.startswith("docs/")}
    assert pages <= set(re.findall(r"docs/[\w-]+\.md", text))
    notebooks = [path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb")]
    for name in notebooks:
        assert f"| `{name}` |" in text, name


@pytest.mark.slow
def test_the_first_lines_of_the_readme_run(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    first = blocks(PAGES["README.md"], "python")[0]
    known: dict[str, Any] = {}
    exec(first, known)
    assert known["best"].model == "linear"


def test_what_is_not_met_says_why() -> None:
    rows = [line for line in PAGES["docs/maturity.md"].splitlines() if line.startswith("|")]
    unmet = [row for row in rows if re.search(r"\bnot met\b", row, re.IGNORECASE)]
    assert len(unmet) > 8
    for row in unmet:
        assert "because" in row or "as at level 2" in row, row


# Files of a reader's own.
MADE_UP = {"params/my.yaml", "notebooks/08_fares.ipynb"}


def test_the_pages_name_files_that_are_there() -> None:
    for page, text in PAGES.items():
        names = re.findall(r"`((?:params|notebooks|taxi_nb|tests|\.github)/[\w./-]+\.\w+)`", text)
        for name in names:
            assert (REPOSITORY / name).exists() or name in MADE_UP, f"{page}: {name}"


def every_command() -> Iterator[tuple[str, Any]]:
    def below(command: Any, path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        for name, one in getattr(command, "commands", {}).items():
            yield from below(one, (*path, name))
        if not hasattr(command, "commands"):
            yield " ".join(path), command

    yield from below(typer.main.get_command(app), ())


# ``FILE``, ``green|yellow``, ``NAME=VALUE``; `[]`: may be left out; dots: several.
METAVAR = re.compile(r"[A-Z]+|[a-z]+(\|[a-z]+)+|\[[A-Z]+\](\.\.\.)?|[A-Z]+(=[A-Z]+|\[=[A-Z]+\])")


@pytest.mark.parametrize("path", dict(every_command()))
def test_the_help_of_a_command_has_examples_and_one_style(path: str) -> None:
    command = dict(every_command())[path]
    examples = re.findall(rf"^  (?:RUN=\$\()?taxi-nb ({path}.*?)\)?$", command.help, re.MULTILINE)
    assert examples, f"{path} has no example"
    for call in examples:
        require_known(call)
    for parameter in command.params:
        if not getattr(parameter, "is_flag", False):
            assert parameter.metavar, f"{path}: {parameter.name}"
            assert METAVAR.fullmatch(parameter.metavar)
    # In the list of commands it is one line.
    assert len(f"  registry  {command.help.partition('.')[0]}.") <= 78, path

"""What raw names are called on the pages, with their units: a file beside the notebooks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

WORDS_FILE = "words.yaml"


@dataclass(frozen=True, eq=False)
class Words:
    """Words for names such as columns and metrics; `problem` says why a file gave none."""

    by_name: Mapping[str, str] = field(default_factory=dict)
    problem: str | None = None


_NONE = Words()


def words_of(folder: Path) -> Words:
    """Read the words of the notebooks in a folder; without a file there are none.

    The file says for a name what it is: ``fare_usd: fare (dollars)``.
    """
    file = folder / WORDS_FILE
    try:
        found = file.stat()
    except FileNotFoundError:
        return _NONE
    except OSError as error:
        return Words(problem=f"{WORDS_FILE}: {error}")
    return _words_in(file, (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino))


@lru_cache(maxsize=16)
def _words_in(file: Path, _stamp: tuple[int, ...]) -> Words:
    """Read a file once for all pages of a run; a changed one has another stamp."""
    # Imported where there are words: it takes as long as a page.
    from taxi_nb.located_yaml import YamlError, read_located_yaml

    try:
        read = read_located_yaml(file)
    except (OSError, YamlError) as error:
        line = getattr(error, "line", None)
        return Words(problem=f"{WORDS_FILE}{f', line {line}' if line else ''}: {error}")
    found = read.value if read.value is not None else {}
    if not isinstance(found, dict):
        return Words(problem=f"{WORDS_FILE} must name words, such as `fare: fare (dollars)`")
    for name, said in found.items():
        if not isinstance(name, str) or not isinstance(said, str):
            place = f"{WORDS_FILE}, line {read.line((name,))}"
            return Words(problem=f"{place}: {name!r:.40} must have words, got {said!r:.40}")
    return Words(found)

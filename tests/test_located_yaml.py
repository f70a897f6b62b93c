"""YAML is read as version 1.2 says, with lines, or refused; never guessed, never endless."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped,unused-ignore]

from taxi_nb.located_yaml import YamlError, parse_value, written_yaml

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefghijk", "bcdefghijkl", strict=True)
)
CHAIN = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 200))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("1e-3", 0.001),
        (".5", 0.5),
        ("-.INF", -math.inf),
        ("TRUE", True),
        ("~", None),
        ("", None),
        *((text, text) for text in ("1:30", "1_000", "yes", "no", "on", "Off", "y", "0b11", "=")),
        ("'2021-02-28'", "2021-02-28"),
        ("%YAML 1.1\n---\nyes", "yes"),
        ("!!str 010", "010"),
        ('"\\ud83d\\ude95"', "\U0001f695"),
        ("{1: a, x: b}", {1: "a", "x": "b"}),
        ("[&one {a: 1, b: 2}, {<<: *one, b: 3}]", [{"a": 1, "b": 2}, {"a": 1, "b": 3}]),
    ],
)
def test_a_scalar_is_what_version_1_2_says(text: str, value: Any) -> None:
    read = parse_value(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: &a [1, *a]", 1, "names the value that it stands in"),
        ("a: 1\nb: &b {self: *b}", 2, "names the value that it stands in"),
        ("&a {<<: *a}", 1, "names the value that it stands in"),
        ("a: 1\n? [1, 2]\n: 3", 2, "a key must be a text or a number"),
        ("a: 1\n? {b: 1}\n: 3", 2, "a key must be a text or a number"),
        ("a: 1\n2021-01-01: 3", 2, "a key must be a text or a number"),
        (".nan: 3", 1, "a key must be a text or a number"),
        ("a: 1\nb: 2\na: 3", 3, "the key 'a' is given twice"),
        ("{1: a, true: b}", 1, "is given twice"),
        ("a: 1\nb: 2021-02-31", 2, "2021-02-31: is no date; in quotes it is a text"),
        ("a: 1\nb: 1e999", 2, "too large"),
        ("a: 1\nb: " + "9" * 5000, 2, "Exceeds the limit"),
        ("a: 1\nb: 0x" + "f" * 5000, 2, "Exceeds the limit"),
        ("a: 1\nb: !!python/object:os.system x", 2, "is not known here"),
        ("a: 1\nb: !!set {c}", 2, "the type set is not known here"),
        ("a: 1\nb: *c", 2, "undefined alias"),
        ('a: 1\nb: "x\\ud800"', 2, "half of a letter"),
        ("a: 1\nb: \x00", 2, "a letter that no text may hold"),
        ("a: \udcff", 1, "a letter that no text may hold"),
        ("a: 1\n---\nb: 2", 2, "another document"),
        ("[" * 100_000, 1, "more than 50 levels"),
        ("{a: " * 5_000, 1, "more than 50 levels"),
        ("- " * 5_000, 1, "more than 50 levels"),
        (CHAIN, 1, "more than 50 levels"),
        (BOMB, 1, "more than 100,000 values"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_its_line_and_soon(
    text: str, line: int, message: str
) -> None:
    before = time.process_time()
    with pytest.raises(YamlError) as caught:
        parse_value(text)
    assert message in str(caught.value)
    assert caught.value.line == line
    assert "\n" not in str(caught.value)
    assert time.process_time() - before < 1


def test_what_is_written_is_read_as_the_same_also_as_version_1_1() -> None:
    texts = ["1e-3", "010", "1_000", "2021-02-31", "yes", "0o7", "~", "", "a\nb", " lead", "<<"]
    texts += ["é\u2028x", "\x7f", "#x", "!a", "=", "1:30", ".5e3", "+.inf", "plain", "a b"]
    value = {
        "texts": texts,
        "numbers": [1e-5, math.inf, 1e22, 0.1, 10, True, None],
        "keys": {1: {}, "1": []},
    }
    assert parse_value(written_yaml(value)) == value
    assert yaml.safe_load(written_yaml(texts)) == texts

"""The keys of a pipeline file and what each may hold, by pydantic.

Imported only for a file that was not read before: to make these classes takes a while.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from copy import deepcopy
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from taxi_nb.calendar_months import is_month
from taxi_nb.close_names import close_to
from taxi_nb.located_yaml import Location
from taxi_nb.pipeline._relative_months import LATEST
from taxi_nb.secrets.addresses import user_info, without_credentials


def _seconds(value: Any) -> Any:
    """Read `90`, `90s`, `30m`, `2h` as seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h)\s*", value)
        if match is None:
            raise ValueError("must be a time such as 90s, 30m or 2h")
        return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]
    return value


def _bytes(value: Any) -> Any:
    """Read `512M`, `4G`, `4Gi` as Kubernetes does: powers of 1000, with an `i` of 1024."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT])(i?)B?\s*", str(value))
    if match is None:
        raise ValueError("must be a size such as 512M, 4G or 4Gi")
    return float(match[1]) * (1024 if match[3] else 1000) ** ("KMGT".index(match[2]) + 1)


_Bytes = Annotated[float, BeforeValidator(_bytes), Field(gt=0)]
_Seconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]


def _without_secrets(address: str) -> str:
    """Refuse a password: the file is kept with every run."""
    _, has_password, _ = user_info(address).partition(":")
    if has_password or "password=" in address:
        raise ValueError(
            "must not carry a password, since this file is logged with every run: it belongs "
            "into the environment (MLFLOW_TRACKING_URI, or PGPASSWORD, "
            "MLFLOW_TRACKING_PASSWORD, AWS_SECRET_ACCESS_KEY)"
        )
    return address


_Address = Annotated[str, AfterValidator(_without_secrets)]


def _on_one_line(name: str) -> str:
    """Refuse what would break a line, or a terminal: names are shown everywhere."""
    if re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", name):
        raise ValueError("must be on one line, without control characters")
    return name


_Name = Annotated[str, AfterValidator(_on_one_line)]


def _month_or_latest(value: str) -> str:
    if value != LATEST and not is_month(value):
        raise ValueError(f"must be a month such as 2023-03, or {LATEST}")
    return value


# What `{month-1}` and the like in the file are relative to, unless `--month` names another.
_Month = Annotated[str, AfterValidator(_month_or_latest)]


class _Step(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    notebook: _Name
    name: _Name | None = None
    params: dict[str, Any] = {}
    matrix: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    needs: list[str] | None = None
    timeout: _Seconds | None = None
    retries: Annotated[int, Field(ge=0)] = 0
    memory: _Bytes | None = None
    cpus: Annotated[float, Field(gt=0)] | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    experiment: _Name | None = None
    tracking_uri: _Address | None = None
    artifact_root: _Address | None = None
    results: _Address | None = None
    month: _Month | None = None
    params: dict[str, Any] = {}
    # What data have to pass; who loads them knows what may stand here.
    checks: dict[str, Any] = {}
    # Looked at elsewhere, so that no message quotes what may be a secret.
    notify: Any = None
    # Whether nobody may use a run's model before a person has approved the run.
    review: Literal["required"] | None = None
    timeout: _Seconds | None = None
    steps: Annotated[list[_Step], Field(min_length=1)]


# Without these nothing true can be said of names and values.
_NEEDED = {"notebook", "name", "params", "matrix", "steps", "month"}


def checked_keys(value: Any, wrong: Callable[[Location, str], None]) -> dict[str, Any] | None:
    """Return what a file says, and tell `wrong` what is not as it should be.

    What is wrong is left out, so that names and values are looked at in the same round; None if
    too much would be missing.
    """
    if not isinstance(value, dict):
        wrong((), "must be a mapping with the key `steps`, a list of notebooks")
        return None
    try:
        return _File.model_validate(value).model_dump()
    except ValidationError as error:
        mistakes = error.errors()
    left = deepcopy(value)
    for mistake in mistakes:
        place = _place_of(mistake["loc"])
        wrong(place, _in_words(mistake))
        match place:
            case ("steps", int(index), str(key), *_) if key not in _NEEDED:
                left["steps"][index].pop(key, None)
            case (str(key), *_) if key not in _NEEDED:
                left.pop(key, None)
    try:
        return _File.model_validate(left).model_dump()
    except ValidationError:
        return None


def _place_of(location: tuple[int | str, ...]) -> Location:
    """Drop pydantic's own words from an error's location."""
    return tuple(part for part in location if not str(part).startswith("function-"))


def _in_words(mistake: Any) -> str:
    """Say what is wrong with a value of the form, from pydantic's error."""
    if mistake["type"] == "extra_forbidden":
        fields = _Step if mistake["loc"][0] == "steps" else _File
        known = list(fields.model_fields)
        hint = close_to(str(mistake["loc"][-1]), known)
        return f"is not a known key{hint}; known are {', '.join(known)}"
    if mistake["type"] == "missing":
        return "is missing"
    message = str(mistake["msg"]).removeprefix("Value error, ")
    message = re.sub("^(Input|List) should", "must", message)
    given = mistake["input"]
    shown = without_credentials(given) if isinstance(given, str) and "://" in given else given
    return f"{message}, got {shown!r}"

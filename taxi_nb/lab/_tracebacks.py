"""Tracebacks that show a person's own frames, and of ours the one that was called."""

from __future__ import annotations

import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from IPython.core.error import UsageError

_OURS = str(Path(__file__).resolve().parent.parent)
_LIBRARIES = tuple(
    sysconfig.get_path(name) for name in ("purelib", "platlib", "stdlib", "platstdlib")
)


def show_short(
    shell: Any, kind: type[BaseException], error: BaseException, frames: TracebackType, **_: Any
) -> None:
    """Show an error as IPython does, without what is below the function of ours that was called.

    `%tb` and `%debug` have all of it.
    """
    kept = list(_kept(frames))
    hidden = sum(1 for _ in _chain(frames)) - len(kept)
    shell.showtraceback((kind, error, _linked(kept)))
    sys.last_traceback = frames
    # A magic that was called wrongly is told in one line.
    if hidden and not isinstance(error, UsageError):
        print(f"{hidden} frames inside taxi_nb are not shown: %tb shows all.", file=sys.stderr)


def _chain(frames: TracebackType | None) -> Iterator[TracebackType]:
    while frames is not None:
        yield frames
        frames = frames.tb_next


def _kept(frames: TracebackType) -> Iterator[TracebackType]:
    """Leave out what our function calls, up to the next frame that is the person's own."""
    is_below = False
    for one in _chain(frames):
        file = one.tb_frame.f_code.co_filename
        is_ours = file.startswith(_OURS)
        # What dataclasses and the like make is code of nobody's: `<string>`.
        is_made = file.startswith("<") and not file.startswith("<ipython")
        if not (is_ours or is_made or file.startswith(_LIBRARIES)):
            is_below = False
        if not is_below:
            yield one
        is_below |= is_ours


def _linked(frames: list[TracebackType]) -> TracebackType | None:
    linked = None
    for one in reversed(frames):
        linked = TracebackType(linked, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return linked

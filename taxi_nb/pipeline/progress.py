"""How a run looks while it goes on: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from taxi_nb.pipeline.expected import Expected, duration
from taxi_nb.pipeline.record import RunRecord, Status, StepResult
from taxi_nb.pipeline.report.headline import result_of

_STYLES = {
    Status.OK: "green",
    Status.CACHED: "green",
    Status.RUNNING: "cyan",
    Status.PENDING: "dim",
    Status.SKIPPED: "dim",
}
# In a log: how often a step says how far it has come, and how much of what it came to.
_SECONDS_BETWEEN = 10.0
_LONGEST_RESULT = 120


def step_line(result: StepResult, came_to: str = "") -> str:
    """Say in one line how a step ended."""
    if result.status is Status.CACHED:
        where = result.shared_by or f"run {result.reused_from}"
        return f"{result.name}  {result.status.in_words}  ({where})"
    seconds = "" if result.seconds is None else f"  {duration(result.seconds)}"
    if result.is_left_out:
        came_to = result.reason or ""
    says = str(result.error) if result.error else came_to
    return f"{result.name}  {result.status.in_words}{seconds}" + (f"  {says}" if says else "")


class PlainProgress:
    """One line for each thing that happens; for logs and pipes."""

    def __init__(
        self, console: Console, expected: Expected | None = None, folder: Path | None = None
    ) -> None:
        """Write to a console; `folder` is that of a run which others have started."""
        self.console, self.expected = console, expected
        self._folder = folder
        self._running: dict[str, StepResult] = {}
        self._spoke: dict[str, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def run_started(self, record: RunRecord, folder: Path) -> None:
        """Name the run, and say how long it may take."""
        self._folder = folder
        expected = f", {self.expected}" if self.expected and str(self.expected) else ""
        self._say(f"run {record.id}: {len(record.steps)} steps{expected}")

    def step_started(self, begun: StepResult) -> None:
        """Name the step, and why it runs."""
        self._running[begun.name] = begun
        self._spoke[begun.name] = time.monotonic()
        attempt = f", attempt {begun.attempts}" if begun.attempts > 1 else ""
        last = self.expected.last.get(begun.name) if self.expected else None
        took = f", last time {duration(last)}" if last else ""
        self._say(f"{begun.name}  started{attempt}{took}: {begun.reason}")

    def cell_started(self, name: str, cell: int, cells: int) -> None:
        """Say nothing: a line for each cell would be noise."""

    def progressed(self, name: str, says: str) -> None:
        """Say it, now and then."""
        now = time.monotonic()
        if now - self._spoke.get(name, 0.0) >= _SECONDS_BETWEEN:
            self._spoke[name] = now
            self._say(f"{name}  {says}")

    def step_ended(self, result: StepResult) -> None:
        """Say how, and what it came to."""
        self._running.pop(result.name, None)
        came_to = ""
        if self._folder and result.status is Status.OK:
            came_to = result_of(result, self._folder)
        if len(came_to) > _LONGEST_RESULT:
            came_to = f"{came_to[:_LONGEST_RESULT].rsplit(' ', 1)[0]} …"
        self._say(step_line(result, came_to))

    def run_ended(self, record: RunRecord) -> None:
        """Say of steps that were running how they ended: a signal came."""
        for step in record.steps:
            if step.name in self._running:
                self.step_ended(step)

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


@dataclass
class _Row:
    result: StepResult
    started: float | None = None
    cell: str = ""
    says: str = ""
    came_to: str = ""


class LiveProgress:
    """A table with a row for each step that redraws itself; each is one line."""

    def __init__(self, console: Console, expected: Expected | None = None) -> None:
        self.expected = expected
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] = {}
        self._title = ""
        self._folder = Path()
        self._began: float | None = None
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=5)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def run_started(self, record: RunRecord, folder: Path) -> None:
        """Show all steps, waiting."""
        with self._lock:
            self._title = f"{record.pipeline} · {record.id}"
            self._folder, self._began = folder, time.perf_counter()
            self._rows = {step.name: _Row(step) for step in record.steps}

    def step_started(self, begun: StepResult) -> None:
        """Start the step's clock."""
        first = begun.attempts == 1
        with self._lock:
            row = self._rows[begun.name] = _Row(begun, time.perf_counter())
            row.cell = "kernel" if first else f"attempt {begun.attempts}"

    def cell_started(self, name: str, cell: int, cells: int) -> None:
        """Show where the step is."""
        with self._lock:
            self._rows[name].cell, self._rows[name].says = f"cell {cell}/{cells}", ""

    def progressed(self, name: str, says: str) -> None:
        """Show how far it has come."""
        with self._lock:
            self._rows[name].says = says

    def step_ended(self, result: StepResult) -> None:
        """Show how it ended, and what it came to."""
        came_to = result_of(result, self._folder) if result.status.is_good else ""
        if result.is_left_out:
            came_to = result.reason or ""
        with self._lock:
            self._rows[result.name] = _Row(result, came_to=came_to)

    def run_ended(self, record: RunRecord) -> None:
        """Show how all ended, also what a signal has ended."""
        for step in record.steps:
            if step.name not in self._rows or self._rows[step.name].result != step:
                self.step_ended(step)
        self._began = None

    def _table(self) -> RenderableType:
        table = Table(
            box=None, padding=(0, 2, 0, 0), title=self._title, caption=self._caption(), expand=True
        )
        table.title_justify = table.caption_justify = "left"
        table.title_style = "bold"
        # Names are whole; what is said of a step is cut to the rest of the line.
        for heading in ("step", "status"):
            table.add_column(heading, no_wrap=True)
        table.add_column("time (last)", no_wrap=True, justify="right")
        table.add_column("", no_wrap=True, overflow="ellipsis", ratio=1)
        with self._lock:
            for name, row in self._rows.items():
                status = Status.RUNNING if row.started else row.result.status
                table.add_row(
                    Text(name),
                    Text(status.in_words, _STYLES.get(status, "red")),
                    self._seconds(row),
                    Text(self._remark(row), "dim" if row.result.error is None else ""),
                )
        return table

    def _caption(self) -> str:
        if self._began is None:
            return ""
        expected = f", {self.expected}" if self.expected and str(self.expected) else ""
        return f"{duration(time.perf_counter() - self._began, 0)}{expected}"

    def _remark(self, row: _Row) -> str:
        if row.started:
            return row.says or row.cell
        return " ".join(str(row.result.error or row.came_to).split())

    def _seconds(self, row: _Row) -> str:
        last = self.expected.last.get(row.result.name) if self.expected else None
        before = f"({duration(last, 0)})" if last else ""
        if row.started is not None:
            return f"{duration(time.perf_counter() - row.started, 0)} {before}".rstrip()
        if row.result.status is Status.PENDING:
            return before
        return "" if row.result.seconds is None else duration(row.result.seconds)

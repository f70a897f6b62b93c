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

from taxi_nb.pipeline.record import RunRecord, Status, StepResult

_STYLES = {
    Status.OK: "green",
    Status.CACHED: "green",
    Status.RUNNING: "cyan",
    Status.PENDING: "dim",
    Status.SKIPPED: "dim",
}


def step_line(result: StepResult) -> str:
    """Say in one line how a step ended."""
    if result.status is Status.CACHED:
        return f"{result.name}  up to date  ({result.shared_by or f'run {result.reused_from}'})"
    seconds = "" if result.seconds is None else f"  {result.seconds:.1f} s"
    why = f"  {result.error}" if result.error else ""
    return f"{result.name}  {result.status}{seconds}{why}"


class PlainProgress:
    """One line for each thing that happens; for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def run_started(self, record: RunRecord, folder: Path) -> None:
        """Name the run."""
        self._say(f"run {record.id}: {len(record.steps)} steps")

    def step_started(self, begun: StepResult) -> None:
        """Name the step, and why it runs."""
        attempt = f", attempt {begun.attempts}" if begun.attempts > 1 else ""
        self._say(f"{begun.name}  started{attempt}: {begun.reason}")

    def cell_started(self, name: str, cell: int, cells: int) -> None:
        """Say nothing: a line for each cell would be noise."""

    def step_ended(self, result: StepResult) -> None:
        """Say how."""
        self._say(step_line(result))

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


@dataclass
class _Row:
    result: StepResult
    started: float | None = None
    cell: str = ""


class LiveProgress:
    """A table with a row for each step that redraws itself."""

    def __init__(self, console: Console) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] = {}
        self._title = ""
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
            self._rows = {step.name: _Row(step) for step in record.steps}

    def step_started(self, begun: StepResult) -> None:
        """Start the step's clock."""
        first = begun.attempts == 1
        with self._lock:
            self._rows[begun.name].started = time.perf_counter()
            self._rows[begun.name].cell = "kernel" if first else f"attempt {begun.attempts}"

    def cell_started(self, name: str, cell: int, cells: int) -> None:
        """Show where the step is."""
        with self._lock:
            self._rows[name].cell = f"cell {cell}/{cells}"

    def step_ended(self, result: StepResult) -> None:
        """Show how it ended."""
        with self._lock:
            self._rows[result.name] = _Row(result)

    def _table(self) -> RenderableType:
        table = Table(box=None, title=self._title, title_justify="left", title_style="bold")
        for heading in ("step", "status", "", ""):
            table.add_column(heading, overflow="fold")
        table.columns[2].justify = "right"
        with self._lock:
            for name, row in self._rows.items():
                status = Status.RUNNING if row.started else row.result.status
                table.add_row(
                    Text(name),
                    Text(status, _STYLES.get(status, "red")),
                    self._seconds(row),
                    Text(self._remark(row), "dim" if row.result.error is None else ""),
                )
        return table

    def _remark(self, row: _Row) -> str:
        if row.result.error:
            return str(row.result.error)
        return row.cell or row.result.reason or ""

    def _seconds(self, row: _Row) -> str:
        if row.started is not None:
            return f"{time.perf_counter() - row.started:.0f} s"
        return "" if row.result.seconds is None else f"{row.result.seconds:.1f} s"

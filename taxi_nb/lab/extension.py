"""What a notebook gets by `%load_ext taxi_nb`, and in `make lab` by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taxi_nb.lab import _displays, _params, _reopen, _report, _to_step

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

# By name: a notebook that never sees such an object need not import what makes it.
_DISPLAYS: dict[tuple[str, str], Callable[..., str | None]] = {
    ("pandas", "DataFrame"): _displays.frame_html,
    ("pandas.core.frame", "DataFrame"): _displays.frame_html,
    ("taxi_nb.training.train", "TrainingResult"): _displays.training_result_html,
}


def register(shell: InteractiveShell) -> None:
    """Give a shell our magics, and its formatter our objects."""
    _magic(
        shell,
        "params",
        lambda line: _params.set_parameters(shell, line),
        f"Set what a pipeline would give this notebook.\n\n{_params.USAGE}",
    )
    _magic(
        shell,
        "plan",
        _params.plan_of,
        f"Say which steps of a pipeline would run, and why.\n\n{_params.PLAN_USAGE}",
    )
    _magic(shell, "report", _report.report_of, f"Show the page of a run.\n\n{_report.USAGE}")
    _magic(
        shell,
        "reopen",
        lambda line: _reopen.reopen(shell, line),
        f"Bring a step of a run into this kernel.\n\n{_reopen.USAGE}",
    )
    _magic(
        shell,
        "to_step",
        lambda line: _to_step.to_step(shell, line),
        f"Make a pipeline's step of this notebook.\n\n{_to_step.USAGE}",
    )
    assert shell.display_formatter is not None
    html = shell.display_formatter.formatters["text/html"]
    for (module, name), shown in _DISPLAYS.items():
        html.for_type_by_name(module, name, shown)


def _magic(shell: InteractiveShell, name: str, does: Callable[[str], Any], documented: str) -> None:
    def magic(line: str) -> Any:
        return does(line)

    magic.__doc__ = documented
    # IPython's types leave out that a plain function is taken, too.
    shell.register_magic_function(magic, "line", name)  # type: ignore[arg-type]

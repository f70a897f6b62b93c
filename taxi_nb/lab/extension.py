"""What a notebook gets by `%load_ext taxi_nb`, and in `make lab` by itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taxi_nb.lab import _displays, _params, _reopen, _report, _to_step
from taxi_nb.lab._completion import complete_model
from taxi_nb.lab._tracebacks import show_short

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

# By name: a notebook that never sees such an object need not import what makes it.
_DISPLAYS: dict[tuple[str, str], Callable[..., str | None]] = {
    ("pandas", "DataFrame"): _displays.frame_html,
    ("pandas.core.frame", "DataFrame"): _displays.frame_html,
    ("taxi_nb.training.train", "TrainingResult"): _displays.training_result_html,
    ("taxi_nb.training.tune", "TuningResult"): _displays.tuning_result_html,
}


def register(shell: InteractiveShell) -> None:
    """Give a shell our magics, displays, completion of models' names, and short tracebacks."""
    magics: dict[str, tuple[Callable[[str], Any], str, str]] = {
        "params": (
            lambda line: _params.set_parameters(shell, line),
            "Set what a pipeline would give this notebook.",
            _params.USAGE,
        ),
        "plan": (
            _params.plan_of,
            "Say which steps of a pipeline would run, and why.",
            _params.PLAN_USAGE,
        ),
        "report": (_report.report_of, "Show the page of a run.", _report.USAGE),
        "reopen": (
            lambda line: _reopen.reopen(shell, line),
            "Bring a step of a run into this kernel.",
            _reopen.USAGE,
        ),
        "to_step": (
            lambda line: _to_step.to_step(shell, line),
            "Make a pipeline's step of this notebook.",
            _to_step.USAGE,
        ),
    }
    for name, (does, said, usage) in magics.items():
        _magic(shell, name, does, f"{said}\n\n{usage}")
    assert shell.display_formatter is not None
    html = shell.display_formatter.formatters["text/html"]
    for (module, name), shown in _DISPLAYS.items():
        html.for_type_by_name(module, name, shown)
    if not shell.custom_exceptions:  # Somebody's own stay.
        shell.set_custom_exc((Exception,), show_short)  # type: ignore[no-untyped-call]
    assert shell.Completer is not None
    if complete_model not in shell.Completer.custom_matchers:
        shell.Completer.custom_matchers.append(complete_model)


def _magic(shell: InteractiveShell, name: str, does: Callable[[str], Any], documented: str) -> None:
    def magic(line: str) -> Any:
        return does(line)

    magic.__doc__ = documented
    # IPython's types leave out that a plain function is taken, too.
    shell.register_magic_function(magic, "line", name)  # type: ignore[arg-type]

"""`taxi-nb verify`."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from taxi_nb.cli._arguments import ChosenRun, Jobs, run_folder
from taxi_nb.cli._stopping import FAILURE, USAGE, errors_stop, say, signals_stop, stop
from taxi_nb.plain_data import to_json
from taxi_nb.project import project_root
from taxi_nb.tracking.held_folder import HeldFolder

if TYPE_CHECKING:
    from taxi_nb.review.verify.verification import Verification


def verify(
    chosen: ChosenRun = None,
    jobs: Jobs = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    keep: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Leave the scratch copy with its runs here."),
    ] = None,
) -> None:
    """Execute a run again, elsewhere, and compare all that it shows.

    Compared are metrics, the pixels of figures, and what cells showed. Not compared are metrics
    that measure the machine, and cells with a comment `# varies: ...`; both are listed.

    The exit code is 0 if all is the same, 1 if something differs, 2 if it cannot be verified.

    Examples:
      taxi-nb verify
      taxi-nb verify 20260203-140501-default --jobs 2
    """
    from taxi_nb.review.verify.checkout import VerificationError
    from taxi_nb.review.verify.verification import verify_run
    from taxi_nb.tracking.model_notes import RegistryError
    from taxi_nb.tracking.store_errors import StoreError

    folder = run_folder(chosen)
    if keep is not None:
        _require_empty(keep)
    codes: dict[type[Exception], int] = dict.fromkeys(
        (VerificationError, RegistryError, ValueError), USAGE
    )
    codes |= {StoreError: FAILURE, OSError: FAILURE}
    with (
        errors_stop(codes, "the run could not be verified: "),
        signals_stop("interrupted"),
        HeldFolder("verify-") as temporary,
    ):
        scratch = keep.absolute() if keep else temporary.resolve()
        made = verify_run(folder, project_root(), scratch, jobs=jobs, say=say)
    print(to_json(_as_dict(made), indent=2) if as_json else _as_text(made))
    if not made.is_same:
        raise typer.Exit(FAILURE)


def _require_empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        stop(f"--keep must name a new or empty folder, got: {folder}", USAGE)


def _as_dict(made: Verification) -> dict[str, object]:
    steps = [{"is_same": step.is_same, **asdict(step)} for step in made.steps]
    return {"is_same": made.is_same, **asdict(made), "steps": steps}


def _as_text(made: Verification) -> str:
    width = max(len(step.name) for step in made.steps)
    lines = [""]
    for step in made.steps:
        verdict = "same" if step.is_same else "differs"
        compared = f"{step.metrics} metrics, {step.figures} figures, {step.outputs} outputs"
        source = f"; with {step.reused_from}, which made it" if step.reused_from else ""
        lines.append(f"{step.name:<{width}}  {verdict:<7}  {compared}{source}")
        lines += [f"    {difference}" for difference in step.differences]
    left_out = Counter(line for step in made.steps for line in step.left_out)
    if left_out:
        lines += ["", f"left out by rule: {sum(left_out.values())}"]
        for what, times in left_out.items():
            steps = [step.name for step in made.steps if what in step.left_out]
            lines.append(f"  {what} ({', '.join(steps) if times < 4 else f'{times} times'})")
    if made.circumstances:
        lines += ["", *(f"not as recorded: {line}" for line in made.circumstances)]
    return "\n".join([*lines, "", f"{made.run}: {_summary(made)}"])


def _summary(made: Verification) -> str:
    others = sum(not step.is_same for step in made.steps)
    if others:
        return f"{others} of {len(made.steps)} steps differ"
    if made.data_changed:
        return "all steps are the same, but the data are not those that were recorded"
    return f"all {len(made.steps)} steps are the same, to the last bit"

"""`taxi-nb report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from taxi_nb.cli._arguments import ChosenRun, run_folder
from taxi_nb.cli._completion import complete_run
from taxi_nb.cli._stopping import FAILURE, USAGE, errors_stop, stop


def report(
    chosen: ChosenRun = None,
    against: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN",
            help="Compare it with this run, cell by cell.",
            autocompletion=complete_run,
        ),
    ] = None,
    single_file: Annotated[
        bool, typer.Option("--single-file", help="Write all pages into one file, to send.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Where that file goes; runs/<id>/report.html if left out.",
        ),
    ] = None,
    summary: Annotated[
        bool, typer.Option("--summary", help="Print it in a few lines of Markdown instead.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a file that is there and no report.")
    ] = False,
) -> None:
    """Write a run's pages again and print the path of the first.

    With --against it is the path of the comparison.

    Examples:
      taxi-nb report
      taxi-nb report --summary
      taxi-nb report 20260203-140501-default --against 20260202-090000-default
      taxi-nb report --single-file -o report.html
    """
    from taxi_nb.pipeline.report.site import write_comparisons, write_single_file, write_site
    from taxi_nb.pipeline.report.summary import summary as in_markdown

    if summary and (single_file or against):
        stop("--summary writes no pages: leave out --single-file and --against", USAGE)
    if single_file and against:
        stop(
            "--single-file holds the comparison with the last run alone: leave out --against", USAGE
        )
    if output and not single_file:
        stop("--output says where --single-file writes; give both", USAGE)
    folder, others = run_folder(chosen), [run_folder(other) for other in against or []]
    if any(other.samefile(folder) for other in others):
        stop(f"--against: {folder.name} is the run itself; name another one", USAGE)
    try:
        with errors_stop({OSError: FAILURE}, "the report could not be written: "):
            if summary:
                print(in_markdown(folder), end="")
            elif single_file:
                file = (output or folder / "report.html").absolute()
                print(write_single_file(folder, file, overwrite=overwrite))
            elif others:
                print(*write_comparisons(folder, others), sep="\n")
            else:
                print(write_site(folder, anew=True))
    except ValueError as error:
        stop(f"{folder / 'run.json'}: {error}", USAGE)

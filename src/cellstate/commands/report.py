"""``cellstate report``: write the report page of a run, a sweep, a comparison or a benchmark again."""

from __future__ import annotations

from cellstate.config import options
from cellstate.config.command import command
from cellstate.config.words import verbatim, with_key


@command(
    "FOLDER [metric=val/NAME] [data.path=FILE]",
    rewrite=lambda words: verbatim(with_key(words, "folder"), "folder"),
)
def run(
    folder: options.Reported,
    *,
    metric: options.RankedBy = None,
    data: options.MovedData,
    trust: options.Trust = (),
) -> None:
    """Write report.html and figures/ of a run, a sweep, a comparison or a benchmark, and print the path."""
    from cellstate.report.rebuild import write_report

    print(write_report(folder, data=data, metric=metric, trust=trust))

"""``cellstate report``: write the report page of a run, a sweep or a comparison again."""

from __future__ import annotations

from cellstate.commands.generate import verbatim
from cellstate.config import options
from cellstate.config.application import parse
from cellstate.config.command import command


def with_key(words: list[str]) -> list[str]:
    """Return the words with ``folder=`` prepended to the first that is neither an option nor KEY=VALUE."""
    alone = next((word for word in parse(words).overrides if "=" not in word), None)
    return [f"folder={word}" if word == alone else word for word in words]


@command(
    "FOLDER [metric=val/NAME] [data.path=FILE]",
    rewrite=lambda words: verbatim(with_key(words), "folder"),
)
def run(
    folder: options.Reported,
    *,
    metric: options.RankedBy = None,
    data: options.MovedData,
    trust: options.Trust = (),
) -> None:
    """Write report.html and figures/ into the folder of a run, a sweep or a comparison, and print the path."""
    from cellstate.report.rebuild import write_report

    print(write_report(folder, data=data, metric=metric, trust=trust))

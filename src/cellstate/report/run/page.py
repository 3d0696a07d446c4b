"""The page of a run: a self-contained ``report.html``, and its figures as PNG files."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cellstate.report.configuration import choices, command_line
from cellstate.report.document import discard_others, pictures, write_page
from cellstate.runs.yaml_file import read_yaml

if TYPE_CHECKING:
    from cellstate.data import SequenceData
    from cellstate.model import SequenceModel


def write(
    folder: Path,
    metrics: Mapping[str, Any],
    history: Sequence[Mapping[str, float]],
    data: SequenceData,
    model: SequenceModel,
) -> Path:
    """Write ``report.html`` and ``figures/*.png`` of a completed run, and return the page.

    Args:
        folder: the run folder.
        metrics: the content of ``metrics.json``.
        history: the rows of ``metrics.csv``.
        data: the data of the run.
        model: the model with the best weights, after testing (or validating) it.
    """
    from cellstate.model.material import Material
    from cellstate.report.run import learning, standing  # these load matplotlib
    from cellstate.report.run.results import result_table, verdict

    material, headline = Material(metrics, history, data, model), model.headline
    section = model.section(material)
    curves = learning.drawings(material, headline)
    config, changed = (folder / "config.yaml").read_text(encoding="utf-8"), overrides(folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    shown = {
        "standing": pictures(standing.drawings(material, headline.metric, headline.label), folder),
        "curves": pictures(curves, folder),
        "pictures": pictures(section.drawings, folder),
    }
    discard_others(folder, [picture for part in shown.values() for picture in part])
    return write_page(
        "run.html.jinja",
        folder / "report.html",
        metrics=metrics,
        headline=headline,
        result=metrics[material.split].get(headline.metric),
        split=material.split,
        test_locked=material.test_locked,
        verdict=verdict(material, headline.metric),
        table=result_table(material, headline.metric),
        section=section,
        facts=data.prepared.facts,
        network=network(model),
        command=command_line(manifest),
        overrides=changed,
        choices=choices(read_yaml(folder / "config.yaml"), changed),
        manifest=manifest,
        config=config,
        checkpoint=shlex.quote(str(folder / "checkpoints" / "best.ckpt")),
        **shown,
    )


def network(model: SequenceModel) -> str:
    """Describe the network, such as ``Classifier with bidirectional LSTM``."""
    backbone = model.backbone
    direction = "bidirectional " if getattr(backbone, "bidirectional", False) else ""
    return f"{type(model).__name__} with {direction}{type(backbone).__name__}"


def overrides(folder: Path) -> list[str]:
    """Return the command-line overrides that Hydra recorded; empty for a run started from Python."""
    record = folder / ".hydra" / "overrides.yaml"
    return [str(override) for override in read_yaml(record, resolved=False)] if record.is_file() else []

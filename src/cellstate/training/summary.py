"""Terminal output of a run: a summary before training, a table of results after it."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cellstate.callbacks import WeightAveraging
from cellstate.config.check import debugged
from cellstate.data import SequenceData
from cellstate.metrics.display import number, shown_metrics
from cellstate.metrics.table import metric_of
from cellstate.model import SequenceModel, parameters_of
from cellstate.training.settings import Settings

# Purpose of each preset of debug=.
PURPOSE = {
    "fast": "one batch of each split, to check that everything runs",
    "overfit": "overfit one training batch, to check that the model can learn",
    "profile": "profile some steps, to find where their time is spent",
}


def announce(settings: Settings, data: SequenceData, model: SequenceModel, trainer: L.Trainer, folder: Path) -> None:
    """Print the summary before training."""
    console = Console(stderr=True, highlight=False)
    backbone = settings.backbone.values
    direction = "bidirectional " if backbone.get("bidirectional") else ""
    layers = f"{backbone['num_layers']} x " if backbone.get("num_layers", 1) > 1 else ""
    network = f"{direction}{settings.backbone.target.rsplit('.', 1)[-1]} {layers}{backbone.get('hidden_size', '')}"
    console.print(
        f"[bold]{settings.experiment}[/bold]  {network}, {parameters_of(model):,} parameters, seed {settings.seed}"
    )
    averaging = [part for part in trainer.callbacks if isinstance(part, WeightAveraging)]  # type: ignore[attr-defined]
    for fact in (*data.prepared.facts, *model.facts(), *averaging):
        console.print(f"  {fact}", soft_wrap=True, markup=False)
    if preset := debugged(settings.recorded):
        purpose = PURPOSE.get(preset, "for debugging")
        console.print(f"  debug={preset}: {purpose}; not a result", soft_wrap=True, markup=False)
    console.print(f"  -> {folder}", soft_wrap=True, markup=False)


def print_results(
    metrics: Mapping[str, Any], data: SequenceData, model: SequenceModel, folder: Path, looks: str | None = None
) -> None:
    """Print the table of results, the meaning of its metrics, the use of the test split, and the paths."""
    console = Console(highlight=False)
    console.print(result_table(metrics, data.reported_split))
    if data.reported_split != "test":
        why = "The test split is locked" if data.test_locked else "The data has no test split"
        chose = "" if metrics["best"].get("kept") == "last" else ", which also selected the checkpoint"
        console.print(f"{why}: these are validation scores{chose}.", soft_wrap=True)
    for name in shown_metrics(metrics[data.reported_split]):
        metric = metric_of(name)
        if metric.meaning and metric.in_tables:
            console.print(f"  [bold]{name}[/bold]: {metric.meaning}", soft_wrap=True)
    if model.writes_text:
        text = model.generate(length=300, temperature=0.8)
        console.print("\nA sample at temperature 0.8:")
        console.print(textwrap.indent(text.strip("\n"), "  | "), markup=False, soft_wrap=True)
    seconds, best = metrics["seconds"], metrics["best"]
    steps, epochs = ("s" if metrics[key] != 1 else "" for key in ("steps", "epochs"))
    console.print(
        f"\n{metrics['steps']:,} step{steps}, {metrics['epochs']} epoch{epochs} "
        f"in {seconds['fit']:.1f} s; {best.get('kept', 'best')} {best['monitor']} {best['value']:.4g} "
        f"at step {best['step']:,}."
    )
    if looks is not None:
        console.print(f"{looks[0].upper()}{looks[1:]}.", soft_wrap=True, markup=False)
    console.print(f"Results:  {folder}", soft_wrap=True, markup=False)
    page = "report.html, " if (folder / "report.html").is_file() else ""
    console.print(
        f"          {page}metrics.json (this table), metrics.csv (learning curves), checkpoints/", soft_wrap=True
    )
    verb = "Test:     " if data.test_locked else "Evaluate: "
    console.print(
        f"{verb}cellstate evaluate checkpoint={folder / 'checkpoints' / 'best.ckpt'}", soft_wrap=True, markup=False
    )


def result_table(metrics: Mapping[str, Any], split: str) -> Table:
    """Return a table of metrics, with a row for ``split``, the validation split, and each reference."""
    reference: Mapping[str, Mapping[str, float]] = metrics["reference"]
    shown = shown_metrics(metrics[split])
    preset = (metrics.get("debug") or {}).get("preset")
    note = f", debug={preset}: not a result" if preset else ""
    title = escape(
        f"{metrics['experiment']}, seed {metrics['seed']}{note}"
    )  # names may come from an untrusted checkpoint
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for metric in shown:
        table.add_column(
            escape(metric.replace("_accuracy", " accuracy")), justify="right"
        )  # wraps in a narrow terminal
    for part in dict.fromkeys((split, "val")):
        if metrics[part]:
            cells = [number(metrics[part].get(metric)) for metric in shown]
            table.add_row(f"this run, {part}", *cells, style="bold" if part == split else "")
    for name in dict.fromkeys(name for values in reference.values() for name in values):
        cells = [number(reference.get(metric, {}).get(name)) for metric in shown]
        if any(cells):
            table.add_row(
                escape(name.replace("_", " ")), *cells, style="green" if name.startswith("optimum") else "dim"
            )
    return table

"""What a run says of itself on the screen: what is trained before, one table of results after."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cellstate.config.check import debugged
from cellstate.data import SequenceData
from cellstate.metrics.display import ONLY_IN_FILE, number, shown_metrics
from cellstate.model import SequenceModel, parameters_of

# What each number means, its unit, and which way is better.
MEANING = {
    "loss": "what training minimises; lower is better",
    "accuracy": "share of right answers; higher is better",
    "closing_accuracy": "share of right answers on the symbol that closes an embedding; 0.5 is guessing",
    "recall_accuracy": "share of right answers on the symbols to recall; higher is better",
    "f1": "harmonic mean of precision and recall; higher is better",
    "auroc": "chance that a positive is ranked above a negative; 0.5 is guessing",
    "bpc": "bits a symbol; lower is better",
    "perplexity": "as uncertain as among so many equally likely symbols; lower is better",
    "mae": "mean absolute error in the data's own units",
    "rmse": "root of the mean squared error in the data's own units",
    "mse": "mean squared error in the data's own units squared",
    "smape": "symmetric absolute percentage error, per cent",
    "mase": "absolute error against that of the seasonal naive forecast in training; below 1 is better than it",
    "crps": "how far the forecast distribution is from what came, in the data's own units; of a single value its mae",
    "pinball": "mean loss of the forecast quantiles, in the data's own units",
    "nll": "negative log-likelihood, nats a value",
    "coverage_80": "share of what came within the central 80 per cent of the forecast; 0.8 where it is calibrated",
    "coverage_90": "share of what came within the central 90 per cent of the forecast; 0.9 where it is calibrated",
    "interval_width_80": "width of the central 80 per cent of the forecast, in the data's own units",
    "interval_width_90": "width of the central 90 per cent of the forecast, in the data's own units",
    "mae_scaled": "mae after dividing by the training split's standard deviation, as papers print it",
    "mse_scaled": "mse after dividing by the training split's variance, as papers print it",
}
# What each preset of debug= is for.
PURPOSE = {
    "fast": "one batch of each split, to see that all of it runs",
    "overfit": "one training batch by heart, to see that it can learn",
    "profile": "some steps, to see where their time goes",
}


def announce(config: DictConfig, data: SequenceData, model: SequenceModel, folder: Path) -> None:
    """Print what is about to be trained."""
    console = Console(stderr=True, highlight=False)
    backbone = config.backbone
    direction = "bidirectional " if backbone.get("bidirectional") else ""
    layers = f"{backbone.num_layers} x " if backbone.get("num_layers", 1) > 1 else ""
    network = f"{direction}{backbone._target_.rsplit('.', 1)[-1]} {layers}{backbone.get('hidden_size', '')}"
    console.print(
        f"[bold]{config.experiment}[/bold]  {network}, {parameters_of(model):,} parameters, seed {config.seed}"
    )
    for fact in data.prepared.facts:
        console.print(f"  {fact}", soft_wrap=True, markup=False)
    if preset := debugged(config):
        purpose = PURPOSE.get(preset, "for debugging")
        console.print(f"  debug={preset}: {purpose}; no result", soft_wrap=True, markup=False)
    console.print(f"  -> {folder}", soft_wrap=True, markup=False)


def conclude(
    metrics: Mapping[str, Any], data: SequenceData, model: SequenceModel, folder: Path, looks: str | None = None
) -> None:
    """Print the table of results, what its numbers mean, how often the test split was looked at, where all lies."""
    console = Console(highlight=False)
    console.print(result_table(metrics, data.reported_split))
    if data.reported_split != "test":
        why = "The test split is locked" if data.test_locked else "There is no test split"
        console.print(f"{why}: these are validation scores, which also chose the checkpoint.", soft_wrap=True)
    for name in shown_metrics(metrics[data.reported_split]):
        if name in MEANING and name not in ONLY_IN_FILE:
            console.print(f"  [bold]{name}[/bold]: {MEANING[name]}", soft_wrap=True)
    if model.writes_text:
        text = model.generate(length=300, temperature=0.8)
        console.print("\nA sample at temperature 0.8:")
        console.print(textwrap.indent(text.strip("\n"), "  | "), markup=False, soft_wrap=True)
    seconds, best = metrics["seconds"], metrics["best"]
    steps, epochs = ("s" if metrics[key] != 1 else "" for key in ("steps", "epochs"))
    console.print(
        f"\n{metrics['steps']:,} step{steps}, {metrics['epochs']} whole epoch{epochs}, "
        f"in {seconds['fit']:.1f} s; best {best['monitor']} {best['value']:.4g} at step {best['step']:,}."
    )
    if looks is not None:
        console.print(f"{looks[0].upper()}{looks[1:]}.", soft_wrap=True, markup=False)
    console.print(f"Results:  {folder}", soft_wrap=True, markup=False)
    page = "report.html, " if (folder / "report.html").is_file() else ""
    console.print(
        f"          {page}metrics.json (this table), metrics.csv (learning curves), checkpoints/", soft_wrap=True
    )
    again = "Test:     " if data.test_locked else "Again:    "
    console.print(
        f"{again}cellstate evaluate checkpoint={folder / 'checkpoints' / 'best.ckpt'}", soft_wrap=True, markup=False
    )


def result_table(metrics: Mapping[str, Any], split: str) -> Table:
    """Return a row for the result on ``split``, the validation, the optimum and each reference; a column a metric."""
    reference: Mapping[str, Mapping[str, float]] = metrics["reference"]
    shown = shown_metrics(metrics[split])
    preset = (metrics.get("debug") or {}).get("preset")
    told = f", debug={preset}: no result" if preset else ""
    title = escape(f"{metrics['experiment']}, seed {metrics['seed']}{told}")  # names may come from a checkpoint
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    for metric in shown:
        table.add_column(
            escape(metric.replace("_accuracy", " accuracy")), justify="right"
        )  # which wraps where it is narrow
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

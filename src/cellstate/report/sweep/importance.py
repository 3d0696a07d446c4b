"""Parameter importance of a sweep by Optuna's PED-ANOVA, compared with a permutation baseline."""

from __future__ import annotations

import inspect
import json
import random
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from cellstate.metrics.table import rank
from cellstate.plotting import canvas
from cellstate.plotting.parts import Drawing
from cellstate.plotting.theme import Theme
from cellstate.report.configuration import is_number
from cellstate.report.sweep.reading import Sweep

FEWEST = 6  # scores needed
SHUFFLES = 100
BETTER = 0.5  # share of jobs that count as good; a grid has too few jobs for Optuna's default of 0.1
ROW = 0.3  # inches


@dataclass(frozen=True)
class Importance:
    """The importance of one parameter as a share of the total, and the 95th percentile of that share by chance."""

    key: str
    share: float
    chance: float
    repeats: bool  # whether it only repeats a configuration, as a seed does


def drawing(sweep: Sweep, found: Sequence[Importance]) -> list[Drawing]:
    """Return the figure; empty if there are too few scores."""
    if not found:
        return []
    return [
        Drawing(
            "importance",
            "How well each parameter separates the better half of the jobs from the rest (PED-ANOVA, Watanabe et al., "
            f"2023), as a share of the total. Grey: the 95th percentile under chance, from {SHUFFLES} random "
            "permutations of the scores. A bar that is entirely grey is not distinguishable from chance.",
            lambda theme: draw(theme, found, sweep),
        )
    ]


def importances(sweep: Sweep) -> list[Importance]:
    """Return the parameters, the most important first; empty if parameters or distinct scores are too few."""
    rows = [row for row in sweep.done if sweep.score(row) is not None]
    scores = [rank(sweep.metric, sweep.score(row)) for row in rows]
    settings = [{**{key: row["overrides"].get(key) for key in sweep.keys}, **row["repeat"]} for row in rows]
    keys = [key for key in (*sweep.keys, *sweep.repeats) if len({json.dumps(one.get(key)) for one in settings}) > 1]
    if len(rows) < FEWEST or len(keys) < 2 or len(set(scores)) < 2:
        return []
    values = evaluate([{key: one.get(key) for key in keys} for one in settings], scores)
    (real, *shuffled), total = values, sum(values[0].values())
    if not total > 0:
        return []
    found = [
        Importance(
            key, real[key] / total, sorted(one[key] for one in shuffled)[-SHUFFLES // 20] / total, key in sweep.repeats
        )
        for key in keys
    ]
    return sorted(found, key=lambda one: -one.share)


def evaluate(settings: Sequence[Mapping[str, Any]], scores: Sequence[float]) -> list[dict[str, float]]:
    """Return each parameter's importance for ``scores`` (lower is better) and for ``SHUFFLES`` permutations."""
    import optuna
    from optuna.distributions import CategoricalDistribution
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    quantile = "target_quantile"  # its name since Optuna 5
    if quantile not in inspect.signature(PedAnovaImportanceEvaluator).parameters:
        quantile = "baseline_quantile"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the evaluator is marked experimental
        share: dict[str, Any] = {quantile: BETTER}
        evaluator = PedAnovaImportanceEvaluator(**share)
        study = optuna.create_study()
        kinds = {key: distribution([one[key] for one in settings]) for key in settings[0]}
        for one, score in zip(settings, scores, strict=True):
            params = {
                key: json.dumps(value) if isinstance(kinds[key], CategoricalDistribution) else float(value)
                for key, value in one.items()
            }
            study.add_trial(optuna.create_trial(params=params, distributions=kinds, value=score))
        orders = [list(scores)]
        draws = random.Random(0)
        for _ in range(SHUFFLES):
            orders.append(draws.sample(scores, len(scores)))
        return [
            get_param_importances(
                study, evaluator=evaluator, target=lambda trial, order=order: order[trial.number], normalize=False
            )
            for order in orders
        ]


def distribution(values: Sequence[Any]) -> Any:
    """Return Optuna's distribution of a parameter: a numeric range (logarithmic if wide) or its choices."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if all(map(is_number, values)):
        low, high = float(min(values)), float(max(values))
        return FloatDistribution(low, high, log=low > 0 and high / low >= 10)
    return CategoricalDistribution(sorted({json.dumps(value) for value in values}))


def draw(theme: Theme, found: Sequence[Importance], sweep: Sweep) -> Figure:
    """Draw a bar for each parameter."""
    subtitle, limits = "share of the total importance; grey: within chance", (len(found) - 0.4, -0.6)
    figure, axes = canvas.row_figure(theme, ROW * len(found), "Parameter importance", subtitle, limits=limits)
    axes.grid(visible=False)
    names = [f"{sweep.short(one.key)} (chance)" if one.repeats else sweep.short(one.key) for one in found]
    axes.set_yticks(range(len(found)), [canvas.shortened(figure, canvas.name(name), 1.8) for name in names])
    places = range(len(found))
    beyond = [one.share if one.share > one.chance else 0.0 for one in found]
    axes.barh(places, beyond, height=0.56, color=theme.run)
    within = [min(one.share, one.chance) for one in found]
    axes.barh(places, within, height=0.56, color=theme.mixed(theme.surface, 0.28))
    for place, one in enumerate(found):
        axes.annotate(
            f"{100 * one.share:.0f} %", (one.share, place), xytext=(5, 0), textcoords="offset points",
            va="center_baseline", color=theme.ink if one.share > one.chance else theme.muted,
        )  # fmt: skip
    axes.set_xlim(0, 1.12)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    return canvas.fit(figure)

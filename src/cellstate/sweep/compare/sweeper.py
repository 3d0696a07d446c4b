"""The sweeper of ``cellstate compare``: the runs of a comparison, in stages.

First the sizes are matched, then each variant is tuned, if requested, then timed, if times are matched, then every
variant is trained under every seed. All runs are jobs of one sweep, so that repeating the command resumes a killed
comparison: results of earlier stages are read from their runs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from hydra.core.override_parser.types import Override

from cellstate.config.check import plain
from cellstate.errors import RequestError, warn
from cellstate.metrics.table import rank
from cellstate.report import comparison
from cellstate.sweep import JobSweeper, naming
from cellstate.sweep.compare import display, generalisation
from cellstate.sweep.compare.axes import Words, axes_of, named
from cellstate.sweep.compare.outcome import Condition, Variant, scored, write
from cellstate.sweep.compare.request import Request
from cellstate.sweep.compare.sizes import Size, Sizes
from cellstate.sweep.compare.testing import tested
from cellstate.sweep.display import counted
from cellstate.sweep.identity import Job, overrides_of
from cellstate.training.replay import own_packages


@dataclass
class Plan:
    """Overrides of the runs of one variant under one condition."""

    condition: Words
    variant: Words
    words: Words  # all overrides except seed and fold
    size: Size
    given: dict[str, Any]  # values chosen by matching and tuning


class CompareSweeper(JobSweeper):
    """Runs every variant under every condition and seed, and tests the differences."""

    def overrides(self) -> list[Override]:
        """Return those of the config and those of the command line, which take precedence."""
        given = self.parsed(self.arguments())
        keys = {word.key_or_group for word in given}
        sweep = plain(self.config.comparison.sweep) or {}
        return [*self.parsed([f"{key}={value}" for key, value in sweep.items() if key not in keys]), *given]

    def name(self) -> str:
        """Return the name of the comparison: that of its preset, or derived as for a sweep."""
        choices, words = self.config.hydra.runtime.choices, self.parsed(self.arguments())
        preset = choices.get("comparison") or "default"
        experiment = self.called(str(choices.get("experiment"))) if preset == "default" else str(preset)
        return naming.sweep_name(self.config.sweep.name, words, experiment, self.called)

    def sweep(self, arguments: list[str]) -> Any:  # noqa: ARG002
        """Run the comparison; return the content of ``comparison.json``."""
        self.request = Request.of(self.config.comparison)
        if any(word.key_or_group == "comparison" and word.is_sweep_override() for word in self.overrides()):
            raise RequestError("comparison: cannot be swept; choose one preset")
        # Options of the comparison are not overrides of its runs; the choice of a preset is, as it configures training.
        overrides = [word for word in self.overrides() if not word.key_or_group.startswith("comparison.")]
        self.axes = axes_of(overrides, self.request.seeds)
        self.trust: set[str] = set()
        plans = list(self.plans())
        with self.session():
            if self.request.tune:
                self.tune(plans)
            if self.request.match == "time":
                self.match_time(plans)
            runs = counted(list(product(plans, self.axes.repeats)), "configs", quiet=self.quiet)
            jobs = {(id(plan), repeat): self.job_of(plan, repeat) for plan, repeat in runs}
            rows = dict(zip(jobs, self.run_jobs(list(jobs.values())), strict=True))
            if self.request.test:
                self.test(rows)
            if self.request.generalise:
                self.generalise(rows)
            self.result = self.judge(plans, rows)
        return self.result

    # ------------------------------------------------------------------ sizes

    def plans(self) -> Iterator[Plan]:
        """Yield every variant under every condition, with matched sizes if requested."""
        request, sizes = self.request, Sizes(self.request.units)
        for condition in counted(self.axes.conditions, "sizes", quiet=self.quiet):
            words = [(*self.axes.fixed, *condition, *variant) for variant in self.axes.variants]
            configs = [self.composed((*own, *self.axes.repeats[0])) for own in words]
            self.trust |= {package for config in configs for package in own_packages(config)}
            for key, values in request.generalise.items():
                generalisation.check(configs[0], key, values)
            given: list[dict[str, Any]] = [{} for _ in words]
            if request.match == "parameters":
                wanted = request.parameters or sizes.of(configs[0]).parameters
                given = [{request.units: units} for units in sizes.match(configs, wanted, request.tolerance)]
            found = [sizes.of(config, own.get(request.units)) for config, own in zip(configs, given, strict=True)]
            self.warn_mismatch(condition, found)
            for place, variant in enumerate(self.axes.variants):
                own = tuple(f"{key}={value}" for key, value in given[place].items())
                yield Plan(condition, variant, (*words[place], *own), found[place], given[place])

    def warn_mismatch(self, condition: Words, sizes: Sequence[Size]) -> None:
        """Warn if the parameter counts could not be matched."""
        counts = [size.parameters for size in sizes]
        mismatch = any(abs(count - counts[0]) > self.request.tolerance * counts[0] for count in counts)
        if self.request.match == "parameters" and mismatch and not self.quiet:
            where = f"{' '.join(condition)}: " if condition else ""
            listed = ", ".join(f"{count:,}" for count in counts)
            target = f" to {self.request.parameters:,}" if self.request.parameters else ""
            warn(
                f"{where}no values of {self.request.units} match the parameter counts{target} better than {listed}; "
                "set a larger comparison.parameters=NUMBER, or use larger networks"
            )

    # ------------------------------------------------------------------ stages

    def tune(self, plans: list[Plan]) -> None:
        """Run a grid search for each variant, and give each its best values."""
        values = self.request.tune
        candidates = [
            tuple(f"{key}={value}" for key, value in zip(values, one, strict=True)) for one in product(*values.values())
        ]
        repeats = [(f"seed={seed}",) for seed in self.request.tuning_seeds]
        self.stage(f"tuning of each variant: {len(candidates)} settings, {len(repeats)} separate seed(s)")
        tries = list(product(range(len(plans)), candidates, repeats))
        rows = self.run_jobs([self.job_of(plans[place], (*candidate, *repeat)) for place, candidate, repeat in tries])
        losses: dict[tuple[int, Words], float] = {}
        for (place, candidate, _), row in zip(tries, rows, strict=True):
            loss = row["best"]["value"] if row["best"] else None
            losses[place, candidate] = losses.get((place, candidate), 0.0) + rank(
                "loss", loss
            )  # infinite for failed runs
        for place, plan in enumerate(plans):
            best = min(candidates, key=lambda candidate: losses[place, candidate])
            plan.words, plan.given = (*plan.words, *best), {**plan.given, **overrides_of(best)}

    def match_time(self, plans: list[Plan]) -> None:
        """Give each variant as many epochs as fit into the training time of the first one."""
        first = self.axes.repeats[0]
        self.stage("one run of each variant, to measure its time")
        rows = self.run_jobs([self.job_of(plan, first) for plan in plans])
        paces = [row["seconds"]["fit"] / row["epochs"] if row["seconds"] and row["epochs"] else None for row in rows]
        for start in range(0, len(plans), len(self.axes.variants)):
            pace, epochs = paces[start], self.composed((*plans[start].words, *first)).trainer.max_epochs
            for place in range(start + 1, start + len(self.axes.variants)):
                own = paces[place]
                if pace and own:
                    given = max(1, round(epochs * pace / own))
                    plans[place].words = (*plans[place].words, f"trainer.max_epochs={given}")
                    plans[place].given["trainer.max_epochs"] = given

    def job_of(self, plan: Plan, repeat: Words) -> Job:
        """Return one run."""
        return self.job((*plan.words, *repeat), self.axes.keys)

    # ------------------------------------------------------------------ results

    def test(self, rows: dict[Any, dict[str, Any]]) -> None:
        """Score all runs on the test split, but only once all of them are complete."""
        if any(row["status"] != "completed" for row in rows.values()):
            return
        found = tested(self.folder.path, rows.values(), self.config.ledger, sorted(self.trust))
        for row in rows.values():
            row["test"], row["reference"] = (found[row["folder"]][part] for part in ("metrics", "reference"))

    def generalise(self, rows: dict[Any, dict[str, Any]]) -> None:
        """Score the networks of all completed runs on data of other sizes."""
        done = [row for row in rows.values() if row["status"] == "completed"]
        for key, values in self.request.generalise.items():
            self.stage(f"{len(done)} networks, scored with {key}={','.join(map(str, values))}")
            shown = counted(done, "networks", quiet=self.quiet)
            found = generalisation.generalised(self.folder.path, shown, key, values, sorted(self.trust))
            for row in done:
                row["generalised"] = found[row["folder"]]

    def judge(self, plans: list[Plan], rows: dict[tuple[int, Words], dict[str, Any]]) -> dict[str, Any]:
        """Write the results, and return them."""
        conditions: list[Condition] = []
        for words in self.axes.conditions:
            own = [plan for plan in plans if plan.condition == words]
            variants = [
                Variant(
                    named(plan.variant, overrides_of(plan.variant)),
                    overrides_of(plan.variant),
                    plan.given,
                    plan.size,
                    {" ".join(repeat): rows[id(plan), repeat] for repeat in self.axes.repeats},
                )
                for plan in own
            ]
            conditions.append(Condition(overrides_of(words), variants))
        command = [word for word in self.task.command if word != "-m"]
        content = scored(self.folder.path, conditions, self.request, command)
        write(self.folder.path, content)
        return content

    def report(self) -> list[dict[str, Any]]:
        """Update ``sweep.json``, print the results, and return the rows of this command's jobs."""
        content = self.folder.refresh()
        if hasattr(self, "result"):
            page = comparison.write(self.folder.path)
            if not self.quiet:
                display.print_results(self.folder.path, self.result, page)
        return [row for row in content["jobs"] if row["key"] in self.keys]

    def stage(self, line: str) -> None:
        """Print the purpose of the next runs."""
        if not self.quiet:
            print(line, file=sys.stderr)

"""The sweeper of ``cellstate compare``: which runs a comparison takes, and in which order they come to be known.

First the sizes, then the search that each variant is given, if any, then the time that each takes, if that is matched,
then every variant under every seed. All of them are jobs of one sweep, so that a comparison that was killed goes on by
the same command: what an earlier stage told is read from its runs.
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
from cellstate.report import comparison as report
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
    """One variant under one condition, as its runs are configured."""

    condition: Words
    variant: Words
    words: Words  # all of it but seed or fold
    size: Size
    given: dict[str, Any]  # what matching and the search have chosen


class CompareSweeper(JobSweeper):
    """Runs every variant under every condition and seed, and says which differences are shown."""

    def overrides(self) -> list[Override]:
        """Return those of the config and those of the command line, before which the former of the same key go."""
        given = self.parsed(self.arguments())
        keys = {word.key_or_group for word in given}
        sweep = plain(self.config.comparison.sweep) or {}
        return [*self.parsed([f"{key}={value}" for key, value in sweep.items() if key not in keys]), *given]

    def name(self) -> str:
        """Return the name of the comparison: that of what was chosen ready-made, or as that of a sweep."""
        choices, words = self.config.hydra.runtime.choices, self.parsed(self.arguments())
        ready = choices.get("comparison") or "default"
        experiment = self.called(str(choices.get("experiment"))) if ready == "default" else str(ready)
        return naming.sweep_name(self.config.sweep.name, words, experiment, self.called)

    def sweep(self, arguments: list[str]) -> Any:  # noqa: ARG002
        """Run the comparison; return the content of ``comparison.json``."""
        self.request = Request.of(self.config.comparison)
        if any(word.key_or_group == "comparison" and word.is_sweep_override() for word in self.overrides()):
            raise RequestError("comparison: is one at a time; give one name")
        # What is asked of all runs is not asked of one; the ready-made one says more than that: how each is trained.
        overrides = [word for word in self.overrides() if not word.key_or_group.startswith("comparison.")]
        self.axes = axes_of(overrides, self.request.seeds)
        self.trust: set[str] = set()
        plans = list(self.plans())
        with self.whole():
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
        """Yield every variant under every condition, with as many parameters each as was asked for."""
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
            self.tell_misfits(condition, found)
            for place, variant in enumerate(self.axes.variants):
                own = tuple(f"{key}={value}" for key, value in given[place].items())
                yield Plan(condition, variant, (*words[place], *own), found[place], given[place])

    def tell_misfits(self, condition: Words, sizes: Sequence[Size]) -> None:
        """Print a line where no numbers of units make networks of one size."""
        counts = [size.parameters for size in sizes]
        misfits = [count for count in counts if abs(count - counts[0]) > self.request.tolerance * counts[0]]
        if self.request.match == "parameters" and misfits:
            where = f"{' '.join(condition)}: " if condition else ""
            counted = ", ".join(f"{count:,}" for count in counts)
            asked = f" to {self.request.parameters:,}" if self.request.parameters else ""
            self.say(
                f"{where}no {self.request.units} bring the parameters{asked} closer together than {counted}; give "
                "a larger comparison.parameters=NUMBER, or larger networks to begin with"
            )

    # ------------------------------------------------------------------ stages

    def tune(self, plans: list[Plan]) -> None:
        """Try all combinations of the values to search among with each variant, and give each the best of its own."""
        values = self.request.tune
        candidates = [
            tuple(f"{key}={value}" for key, value in zip(values, one, strict=True)) for one in product(*values.values())
        ]
        repeats = [(f"seed={seed}",) for seed in self.request.tuning_seeds]
        self.stage(f"search of each variant: {len(candidates)} settings under {len(repeats)} seed(s) of their own")
        tries = list(product(range(len(plans)), candidates, repeats))
        rows = self.run_jobs([self.job_of(plans[place], (*candidate, *repeat)) for place, candidate, repeat in tries])
        losses: dict[tuple[int, Words], float] = {}
        for (place, candidate, _), row in zip(tries, rows, strict=True):
            loss = row["best"]["value"] if row["best"] else None
            losses[place, candidate] = losses.get((place, candidate), 0.0) + rank("loss", loss)  # infinite if it failed
        for place, plan in enumerate(plans):
            best = min(candidates, key=lambda candidate: losses[place, candidate])
            plan.words, plan.given = (*plan.words, *best), {**plan.given, **overrides_of(best)}

    def match_time(self, plans: list[Plan]) -> None:
        """Give each variant as many epochs as take the seconds that the first one takes for its own."""
        first = self.axes.repeats[0]
        self.stage("one run of each variant, to see how long it takes")
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
        """Score the test split with all runs, once every one of them is complete: not before all is decided."""
        if any(row["status"] != "completed" for row in rows.values()):
            return
        found = tested(self.folder.path, rows.values(), self.config.ledger, sorted(self.trust))
        for row in rows.values():
            row["test"], row["reference"] = (found[row["folder"]][part] for part in ("metrics", "reference"))

    def generalise(self, rows: dict[Any, dict[str, Any]]) -> None:
        """Score the networks of all complete runs on data of other sizes."""
        done = [row for row in rows.values() if row["status"] == "completed"]
        for key, values in self.request.generalise.items():
            self.stage(f"{len(done)} networks, scored with {key}={','.join(map(str, values))}")
            shown = counted(done, "networks", quiet=self.quiet)
            found = generalisation.generalised(self.folder.path, shown, key, values, sorted(self.trust))
            for row in done:
                row["generalised"] = found[row["folder"]]

    def judge(self, plans: list[Plan], rows: dict[tuple[int, Words], dict[str, Any]]) -> dict[str, Any]:
        """Write what came out, and return it."""
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
        content = scored(
            self.folder.path, conditions, self.request, [word for word in self.task.command if word != "-m"]
        )
        write(self.folder.path, content)
        return content

    def conclude(self) -> list[dict[str, Any]]:
        """Bring ``sweep.json`` up to date, print what came out, and return the rows of this command's jobs."""
        content = self.folder.refresh()
        if hasattr(self, "result"):
            page = report.write(self.folder.path)
            if not self.quiet:
                display.conclude(self.folder.path, self.result, page)
        return [row for row in content["jobs"] if row["key"] in self.keys]

    def stage(self, line: str) -> None:
        """Print what the next runs are for."""
        if not self.quiet:
            print(line, file=sys.stderr)

    def say(self, line: str) -> None:
        """Print a line on what is unlike what was asked for."""
        if not self.quiet:
            warn(line)

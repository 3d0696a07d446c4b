"""An inspection on the terminal: tables, and the walk as lines."""

from __future__ import annotations

import math
from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table

from cellstate.inspection.analysis import HalfMemory, LayerFlow, LineFit, MemoryCurve, Units, order_by_memory
from cellstate.inspection.analysis.walk import signed
from cellstate.inspection.result import Inspection
from cellstate.model.inspector.answers import readable, shortened

LN10 = math.log(10)
LONGEST = 4  # units listed by time constant
WALKED_STEPS = 40  # steps of a walk on the terminal


def tables(found: Inspection, width: int = 80) -> Iterator[Table]:
    """Yield tables of at most ``width`` characters: the layers, then the entire network."""
    yield from layer_tables(found, width)
    facts = Table(box=None, show_header=False, padding=(0, 2))
    facts.add_column(no_wrap=True)
    facts.add_column(overflow="fold")
    for name, value in summary(found):
        facts.add_row(name, value)
    yield facts


def layer_tables(found: Inspection, width: int) -> Iterator[Table]:
    """Yield a table with a row for each layer and direction; if too wide, tables with a column for each."""
    title = f"{found.task or 'network'}: {found.network}"
    columns, rows = layer_columns(found), layer_rows(found)
    wide = table_of(["\n".join(column) for column in columns], rows, title)
    if natural_width(wide) <= width:
        yield wide
        return
    names = [" ".join(column) for column in columns[1:]]
    left = 0
    while left < len(rows):
        for count in range(len(rows) - left, 0, -1):
            part = rows[left : left + count]
            lines = [[name, *(row[place] for row in part)] for place, name in enumerate(names, start=1)]
            table = table_of(["", *(row[0] for row in part)], lines, "" if left else title)
            if natural_width(table) <= width:
                break
        yield table
        left += count


def table_of(columns: list[str], rows: list[list[str]], title: str) -> Table:
    """Return a table with names in the first column and numbers in the others."""
    table = Table(title=title or None, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def natural_width(table: Table) -> int:
    """Return the width of a table without wrapping, in characters, without its title."""
    return Console(width=10_000).measure(table).maximum


def layer_columns(found: Inspection) -> list[tuple[str, str]]:
    """Return the headings of ``layer_rows``, two lines each."""
    gates = [(f"{gate} gate", "shut / open") for gate in found.units[0].saturation]
    kept = [("time", "constant")] if found.units[0].time_constant is not None else []
    return [("layer", ""), *gates, *kept]


def layer_rows(found: Inspection) -> list[list[str]]:
    """Return a row for each layer and direction: gate saturation, median time constant."""
    rows = []
    for units in found.units:
        kept = [] if units.time_constant is None else [f"{steps(float(units.time_constant.median()))} {found.steps}"]
        rows.append([units.name, *(shares(units, gate) for gate in units.saturation), *kept])
    return rows


def summary(found: Inspection) -> list[tuple[str, str]]:
    """Return facts about the entire network, as name and value."""
    rows = [("inspected on", found.sequences)]
    if found.unknown:
        rows.append(("unknown characters", found.unknown))
    if found.patch > 1:
        rows.append(("patch", f"{found.patch} steps of the series, which form one step of the network"))
    for number, units in enumerate(units for units in found.units if units.time_constant is not None):
        rows.append(("" if number else "longest time constants", f"{units.name}: {longest(units, found.steps)}"))
    for number, flow in enumerate(found.flow.layers):
        rows.append(("" if number else f"gradient per {found.step} back", f"{flow.name}: {gradients(flow)}"))
    if found.influence is not None:
        rows.append(("half-memory length", half_memory(found.influence, "of influence", interval=found.interval)))
    if found.recall is not None:
        name = "" if found.influence is not None else "half-memory length"
        unit = found.named(found.steps)
        rows.append((name, half_memory(found.recall, "of recall", unit)))
    if found.fields:
        rows.append(("receptive field", verdict(found)))
    if found.characters is not None:
        rows += characters(found)
    for number, (what, why) in enumerate(found.left_out.items()):
        rows.append(("" if number else "skipped", f"{what}: {why}"))
    return rows


def verdict(found: Inspection) -> str:
    """Return the result of the receptive field check."""
    if found.problem is not None:
        return f"FAILS: {found.problem}"
    future = "and none sees the future" if "series" in found.fields else "(leakage is checked on the data's splits)"
    return f"every step of the forecast sees the newest input {future}"


def characters(found: Inspection) -> list[tuple[str, str]]:
    """Return the interpretable units, a row for each property."""
    assert found.characters is not None
    best = found.characters.following(most=1)
    if not best:
        return [("interpretable units", "none better than chance and an untrained network")]
    return [
        ("" if number else "interpretable units", f"{one.what}: {one.state}[{one.unit}], {one.score}")
        for number, one in enumerate(best)
    ]


def half_memory(curve: MemoryCurve, what: str, unit: str = "steps", *, interval: bool = True) -> str:
    """Return the half-memory length with its interval, in words."""
    half: HalfMemory = curve.half_memory()
    if half.steps is None or half.low is None or half.high is None:
        return f"nothing above chance, {what}"
    least = "at least " if half.censored else ""
    within = f" (95 %: {half.low:.1f} to {half.high:.1f})" if interval else " (too few sequences for an interval)"
    if half.censored and half.low == half.high:
        within = ""  # all resamples end at the longest delay
    return f"{least}{half.steps:.1f} {unit}{within}, {what}"


def shares(units: Units, gate: str) -> str:
    """Return the shares of steps in which the gate is shut and open, averaged over the units."""
    share = units.saturation[gate]
    return f"{100 * float(share.shut.mean()):.0f} / {100 * float(share.open.mean()):.0f} %"


def longest(units: Units, unit: str) -> str:
    """Return the units with the longest time constants."""
    taus = units.time_constant
    assert taus is not None
    return ", ".join(
        f"unit {number} ({steps(float(taus[number]))} {unit})" for number in order_by_memory(units)[:LONGEST].tolist()
    )


def steps(tau: float) -> str:
    """Return a time constant in steps."""
    return "∞" if math.isinf(tau) else f"{tau:,.3g}" if tau < 1000 else f"{tau:,.0f}"


def gradients(flow: LayerFlow) -> str:
    """Return the factor by which the gradient norms of h, and of c if present, change per step back."""
    parts = [("dL/dh", flow.fit())] + ([] if flow.cell is None else [("dL/dc", flow.fit("cell"))])
    return ", ".join(f"{name} {slope(fit)}" for name, fit in parts)


def slope(fit: LineFit) -> str:
    """Return the factor by which a gradient norm changes per step back, or its range if it is not exponential."""
    if math.isnan(fit.low):
        return "0"
    if math.isnan(fit.slope):
        return f"{power(fit.low / LN10)} at a single step"
    if fit.straight:
        return f"× {math.exp(fit.slope):.3f}"
    return f"{power(fit.low / LN10)} to {power(fit.high / LN10)}, not exponential"


def power(log: float) -> str:
    """Return a number, given by its log10, in a few digits; it may be below the range of floats."""
    if -2.5 <= log <= 3:
        return f"{10**log:.2g}" if log < 2 else f"{10**log:.0f}"
    exponent = math.floor(log + 1e-9)
    digits = 10 ** (log - exponent)
    raised = f"{exponent}".translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if abs(digits - 1) < 0.05 else f"{digits:.2g}·10{raised}"


# ---------------------------------------------------------------------- the walk


def walk_title(found: Inspection) -> str:
    """Return the title of the walk."""
    names = [unit_name(found, unit) for unit in found.walk.units]
    which = f"unit{'s' if len(names) > 1 else ''} {', '.join(names)} of {found.walk.layer.name}"
    why = "" if found.unit_names else ", with the largest effect on the loss"
    return f"{found.keys[found.shown]}: {which}{why}"


def unit_name(found: Inspection, unit: int) -> str:
    """Return the number of a unit of the walk, with its name if it has one."""
    return f"{unit} ({found.unit_names[unit]})" if found.unit_names else str(unit)


def walk_rows(found: Inspection) -> Iterator[tuple[int, str, str, list[list[str]]]]:
    """Yield for each step: number from 1, input, prediction so far, and a row of numbers for each unit.

    The row: unit, gates, the state before and after (c of an LSTM), and h.
    """
    for step, units in found.walk.steps:
        rows = []
        for unit in units:
            gates = [signed(value) for value in unit.gates.values()]
            before, after = (
                (unit.hidden_before, unit.hidden)
                if unit.cell is None or unit.cell_before is None
                else (unit.cell_before, unit.cell)
            )
            shown = [signed(before), signed(after)]
            hidden = [] if unit.cell is None else [signed(unit.hidden)]
            rows.append([unit_name(found, unit.unit), *gates, *shown, *hidden])
        read = readable_name(found.reading.names[step]) if step < len(found.reading.names) else ""
        yield step + 1, read, "" if found.answers is None else found.answers.spoken(step), rows


def walk_columns(found: Inspection) -> list[str]:
    """Return the headings of a unit's row."""
    state = ["c before", "c after", "h"] if found.kind == "lstm" else ["h before", "h after"]
    return ["unit", *found.walk.columns, *state]


def lines_of_walk(found: Inspection) -> Iterator[str]:
    """Yield the walk as lines of text, with the equation of the first unit in numbers."""
    columns = walk_columns(found)
    yield walk_title(found)
    yield f"equations: unit {unit_name(found, found.walk.units[0])}, in numbers"
    width = max([len(unit_name(found, unit)) for unit in found.walk.units] + [4])
    for (number, read, answer, rows), (_, units) in zip(walk_rows(found), found.walk.steps, strict=True):
        yield ""
        if number > WALKED_STEPS:
            yield f"… {len(found.walk.steps) - WALKED_STEPS:,} more {found.steps} in report.html"
            return
        yield f"{found.step} {number}  reads {read}" + (f"  → {answer}" if answer else "")
        yield "  ".join([f"  {columns[0]:<{width}}", *(f"{title:>8}" for title in columns[1:])])
        for row in rows:
            yield "  ".join([f"  {row[0]:<{width}}", *(f"{value:>8}" for value in row[1:])])
        yield f"  {units[0].equation()}"


def readable_name(text: str) -> str:
    """Return an input with whitespace made visible, short enough for a table cell."""
    return readable(text) if len(text) == 1 else shortened(text)

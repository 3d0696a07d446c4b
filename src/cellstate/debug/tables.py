"""The tables of a profile: the parts of a step, and its most expensive operators."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table

from cellstate.debug.phases import ORDER

SHOWN = 12  # operators; the file lists all
PYTHON = "(Python between operators)"


@dataclass(frozen=True)
class Operator:
    """The cost of an operator in a step, excluding operators that it calls."""

    name: str
    calls: float  # a step
    cpu_ms: float  # a step
    device_ms: float  # a step, of its kernels; 0 on the CPU


def operators_of(events: Iterable[Any], steps: int) -> list[Operator]:
    """Return the operators of torch's profiler, the most expensive first.

    Args:
        events: the result of ``key_averages``. Kernels are skipped, as they count with their operator; our own
            annotations have the time between operators.
        steps: number of traced steps.
    """
    found, python = [], 0.0
    for event in events:
        if "CPU" not in str(event.device_type):
            continue
        if event.is_user_annotation:
            python += event.self_cpu_time_total
            continue
        device = float(event.self_device_time_total)
        found.append(
            Operator(event.key, event.count / steps, event.self_cpu_time_total / steps / 1e3, device / steps / 1e3)
        )
    found.append(Operator(PYTHON, 0, python / steps / 1e3, 0.0))
    on_device = any(operator.device_ms for operator in found)
    return sorted(found, key=lambda one: (one.device_ms if on_device else one.cpu_ms, one.cpu_ms), reverse=True)


def operator_rows(operators: Sequence[Operator]) -> list[dict[str, Any]]:
    """Return the rows of ``operators.csv``: milliseconds a step, and fractions of the sum."""
    cpu, device = (sum(getattr(one, name) for one in operators) or 1.0 for name in ("cpu_ms", "device_ms"))
    return [
        {
            "operator": one.name,
            "calls_per_step": round(one.calls, 3),
            "self_cpu_ms": round(one.cpu_ms, 6),
            "self_cpu_share": round(one.cpu_ms / cpu, 4),
            "self_device_ms": round(one.device_ms, 6),
            "self_device_share": round(one.device_ms / device, 4),
        }
        for one in operators
    ]


def part_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of ``step.csv``: the parts of a step in order, in milliseconds and fractions of their sum."""
    parts = {name: record["parts_ms"][name] for name in ORDER if name in record["parts_ms"]}
    total = sum(parts.values()) or 1.0
    return [
        {"part": name, "ms": round(value, 6), "share": round(value / total, 4)}
        for name, value in {**parts, "sum": total}.items()
    ]


def tables(record: Mapping[str, Any], operators: Sequence[Operator]) -> list[Table | str]:
    """Return the printed tables of a profile."""
    (unit,) = {"samples", "tokens"} & {key.removesuffix("_per_second") for key in record}
    speed = f"{record[f'{unit}_per_second']:,.0f} {unit}/s"
    step = Table(title="parts of a step", title_justify="left", box=box.SIMPLE_HEAD)
    step.add_column("")
    for title in ("ms", "share"):
        step.add_column(title, justify="right")
    for row in part_rows(record):
        bold = "bold" if row["part"] == "sum" else ""
        step.add_row(row["part"], f"{row['ms']:.3f}", f"{100 * row['share']:.1f} %", style=bold)
    return [f"a step takes {record['step_ms']:.3f} ms, {speed}", step, _operator_table(operators)]


def _operator_table(operators: Sequence[Operator]) -> Table:
    on_device = any(one.device_ms for one in operators)
    table = Table(
        title="most expensive operators (self time, traced)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("", overflow="fold")
    for title in ("calls a step", "CPU ms", "share", *(("GPU ms", "share") if on_device else ())):
        table.add_column(title, justify="right")
    for one, row in list(zip(operators, operator_rows(operators), strict=True))[:SHOWN]:
        cells = [f"{one.calls:g}" if one.calls else "", f"{one.cpu_ms:.3f}", f"{100 * row['self_cpu_share']:.1f} %"]
        if on_device:
            cells += [f"{one.device_ms:.3f}", f"{100 * row['self_device_share']:.1f} %"]
        table.add_row(one.name.replace("[", r"\["), *cells)
    return table

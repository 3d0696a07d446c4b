"""Whether model and data are of the same task, from what their classes declare, before either is built."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from hydra.utils import get_object

from cellstate.config.paths import config_folder

# Field of ``DataSpec`` that a model needs and a data set gives -> the task in words.
TASKS = {
    "horizon": "forecasts time series",
    "classes": "classifies sequences",
    "targets": "predicts numbers for a sequence",
    "vocabulary": "predicts symbols",
}


def task_problem(model: Any, data: Any) -> str | None:
    """Return a line if the class of a model is for another task than that of the data.

    Classes that do not declare their task, ``needs`` and ``gives``, are compared once the data is read.
    """
    needs, gives = getattr(model, "needs", None), getattr(data, "gives", None)
    if needs == gives or needs not in TASKS or gives not in TASKS:
        return None
    names = [file.stem for file in presets("model") if getattr(_class_of(file), "needs", None) == gives]
    of_data = [file.stem for file in presets("data") if _class_of(file) is data]
    shown = of_data[0] if len(of_data) == 1 else data.__name__
    return (
        f"model={model.__name__}: {TASKS[needs]}, but data={shown} needs a model that {TASKS[gives]}; "
        f"choose one with model=NAME: {', '.join(names)}"
    )


def presets(group: str) -> list[Path]:
    """Return cellstate's own configs of a group, by name."""
    return sorted((config_folder() / group).glob("*.yaml"))


def _class_of(file: Path) -> Any:
    """Return the class that a config names, itself or in the first config of its group that it builds on."""
    content: Mapping[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    if "_target_" in content:
        return get_object(content["_target_"])
    named = [one.partition("@")[0] for one in content.get("defaults", []) if isinstance(one, str)]
    base = next((path for name in named if (path := file.with_name(f"{name}.yaml")).is_file()), None)
    assert base is not None, f"{file} names no class"
    return _class_of(base)

"""Hydra's compositions, remembered within a process that runs tests.

Composing a config takes 80 ms, longer than training a network as small as here, and nearly all tests compose the same
few files with other values. What the files give is therefore kept and copied; values are set anew by Hydra. That this
changes nothing is shown in ``contract/test_compositions.py``; processes that tests start have Hydra as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

OURS = Path(__file__).parents[1] / "conf"


@contextmanager
def remembered() -> Iterator[None]:
    """Keep, for each choice of files, what they compose to."""
    from hydra._internal import config_loader_impl as loader
    from hydra._internal.defaults_list import Overrides

    listed: dict[Any, Any] = {}  # choice of files -> list of defaults
    composed: dict[int, Any] = {}  # identity of such a list -> config
    create, compose = loader.create_defaults_list, loader.ConfigLoaderImpl._compose_config_from_defaults_list

    def create_once(repo: Any, config_name: Any, overrides_list: Any, **options: Any) -> Any:
        if not (OURS / f"{config_name}.yaml").is_file():  # made from a signature
            return create(repo, config_name, overrides_list, **options)
        values = Overrides(repo=repo, overrides_list=overrides_list).config_overrides
        choices = [one.input_line for one in overrides_list if not one.is_sweep_override() and one not in values]
        sources = [(source.full_path(), contents(source)) for source in repo.get_sources()]
        key = (config_name, *choices, *options.items(), *sources)
        if key not in listed:
            listed[key] = create(repo, config_name, overrides_list, **options)
        return replace(listed[key], config_overrides=values)

    def compose_once(self: Any, defaults: Any, repo: Any) -> Any:
        if not any(one.defaults is defaults for one in listed.values()):
            return compose(self, defaults, repo)
        if id(defaults) not in composed:
            composed[id(defaults)] = compose(self, defaults, repo)
        return copy.deepcopy(composed[id(defaults)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loader, "create_defaults_list", create_once)
        patch.setattr(loader.ConfigLoaderImpl, "_compose_config_from_defaults_list", compose_once)
        yield


def contents(source: Any) -> tuple[Any, ...]:
    """Return the files of a folder of configs that a test may have written; nothing for those of packages."""
    folder = Path(source.path)
    if source.scheme() != "file" or folder == OURS:
        return ()
    return tuple((str(file), file.read_bytes()) for file in sorted(folder.rglob("*.yaml")))

"""Locations of configs: those of cellstate, and those in a user's folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra import initialize, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra


def config_folder() -> Path:
    """Return the folder of cellstate's configs: in the installed package, or at the root of the repository."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def home_of(config_name: str) -> Path | None:
    """Return the folder of a primary config; None if it is built from a signature (``config/command.py``)."""
    return config_folder() if (config_folder() / f"{config_name}.yaml").is_file() else None


def search_path(config_dir: str | Path | None) -> list[str]:
    """Return the override that adds a user's folder to Hydra's search path."""
    return [] if config_dir is None else [f"hydra.searchpath=['file://{Path(config_dir).expanduser().resolve()}']"]


@contextmanager
def hydra_for(config_name: str) -> Iterator[ConfigLoader]:
    """Initialize Hydra to compose a primary config, also inside a Hydra application, whose state is restored."""
    state, home = GlobalHydra.instance(), home_of(config_name)
    outer, state.hydra = state.hydra, None
    try:
        with (
            initialize(config_path=None, version_base="1.3", job_name="cellstate")
            if home is None
            else initialize_config_dir(str(home), version_base="1.3", job_name="cellstate")
        ):
            yield state.config_loader()
    finally:
        state.hydra = outer

"""Where configs lie: cellstate's own, and those in a folder of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra import initialize, initialize_config_dir
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra


def config_folder() -> Path:
    """Return where cellstate's own configs lie: in the installed package, or at the top of the checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "conf"
    return installed if installed.is_dir() else package.parents[1] / "conf"


def home_of(config_name: str) -> Path | None:
    """Return the folder of a primary config; None where it is made of a command's signature (``config/command.py``)."""
    return config_folder() if (config_folder() / f"{config_name}.yaml").is_file() else None


def search_path(config_dir: str | Path | None) -> list[str]:
    """Return the override that has Hydra look for configs in a folder of the user's own too."""
    return [] if config_dir is None else [f"hydra.searchpath=['file://{Path(config_dir).expanduser().resolve()}']"]


@contextmanager
def hydra_for(config_name: str) -> Iterator[ConfigLoader]:
    """Set Hydra up to compose a primary config, also within a Hydra application, whose own state is put back."""
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

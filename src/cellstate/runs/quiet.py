"""Silence log messages and warnings of libraries."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def log_level(level: int, *names: str) -> Iterator[None]:
    """Set the level of loggers inside."""
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, original in zip(loggers, before, strict=True):
            logger.setLevel(original)


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Hide Lightning's start-up messages and its advice about DataLoader workers."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning", "matplotlib")
    with log_level(logging.ERROR, *names), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message="dropout option adds dropout")  # documented at the key in the config
        yield

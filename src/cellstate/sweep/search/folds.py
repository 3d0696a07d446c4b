"""Nested cross-validation: a search for each fold that knows nothing of it, and one more, of all data, that is kept.

What a search chose looks better by the scores that it was chosen by than it is (Cawley and Talbot, JMLR 2010), so that
these cannot say how good the search is. Here each of k folds is left out of one whole search, proposals and pruning
included: the next fold picks among its trials, the rest trains, and what was picked is scored on the fold left out. The
mean of those k scores is an almost unbiased estimate of what searching leads to (Varma and Simon, BMC Bioinformatics
2006). It is one of the procedure: the parameters that come back are those of one more search, of all data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import DictConfig, OmegaConf

from cellstate.config.signatures import shown
from cellstate.errors import RequestError
from cellstate.sweep.search.settings import Settings


@dataclass(frozen=True)
class Part:
    """One of the searches that a command does.

    Attributes:
        label: what it is called, such as ``fold 3``; nothing where it is the only one.
        suffix: of the name of its study.
        words: the overrides that its trials have beside those of the command.
        fold: which one it leaves out; None: none.
    """

    label: str = ""
    suffix: str = ""
    words: tuple[str, ...] = ()
    fold: int | None = None


def parts(config: DictConfig, settings: Settings, given: Mapping[str, Any]) -> list[Part]:
    """Return the searches that a config asks for, the one whose parameters come back last.

    Args:
        config: as the command line composes it.
        settings: of the search.
        given: the overrides of the command line.

    Raises:
        RequestError: folds are asked for that are not there, or cannot be left out.
    """
    if not settings.nested:
        if settings.score:
            raise RequestError(
                "sweep.score=true: scores the folds of a nested search, and this is none; score what you choose with "
                "cellstate evaluate checkpoint=FOLDER"
            )
        return [Part()]
    folds = OmegaConf.select(config, "data.folds")
    if not isinstance(folds, int) or folds < 3:
        raise RequestError(
            f"sweep.nested=true: searches once for each fold, and data.folds={shown(folds)}; give data.folds=7 with "
            "data that has them (data=states), or sweep.nested=false"
        )
    if fixed := [key for key in ("data.fold", "data.split") if key in given]:
        raise RequestError(f"{fixed[0]}: a nested search sets it itself; leave it out, or set sweep.nested=false")
    shares = f"[{(folds - 1) / folds!r},{1 / folds!r},0]"  # as much for validation as in the others, and no test split
    left_out = [Part(f"fold {fold}", f"/fold-{fold}", (f"data.fold={fold}",), fold) for fold in range(folds)]
    return [*left_out, Part("all data", "", ("data.folds=null", "data.fold=0", f"data.split={shares}"))]

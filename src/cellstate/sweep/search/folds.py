"""Nested cross-validation: a search for each fold that never sees it, and a final search on all data.

The validation scores of selected trials are optimistically biased (Cawley and Talbot, JMLR 2010). Here each of k folds
is held out of a complete search, including proposals and pruning: the next fold is used for validation, the others for
training, and the selected trial is scored on the held-out fold. The mean of those k scores is an almost unbiased
estimate of the procedure's performance (Varma and Simon, BMC Bioinformatics 2006). The returned parameters are those
of the final search.
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
    """One of the searches of a command.

    Attributes:
        label: such as ``fold 3``; empty for a single search.
        suffix: of the name of its study.
        words: overrides of its trials in addition to those of the command.
        fold: held-out fold; None if there is none.
    """

    label: str = ""
    suffix: str = ""
    words: tuple[str, ...] = ()
    fold: int | None = None


def parts(config: DictConfig, settings: Settings, given: Mapping[str, Any]) -> list[Part]:
    """Return the searches of a config, the final one last."""
    if not settings.nested:
        if settings.score:
            raise RequestError(
                "sweep.score=true: requires sweep.nested=true; to score the selected run, use "
                "cellstate evaluate checkpoint=FOLDER"
            )
        return [Part()]
    folds = OmegaConf.select(config, "data.folds")
    if not isinstance(folds, int) or folds < 3:
        raise RequestError(
            f"sweep.nested=true: searches once for each fold, but data.folds={shown(folds)}; set data.folds=7 with "
            "data that supports folds (data=states), or sweep.nested=false"
        )
    if fixed := [key for key in ("data.fold", "data.split") if key in given]:
        raise RequestError(f"{fixed[0]}: is set by the nested search; remove it, or set sweep.nested=false")
    shares = f"[{(folds - 1) / folds!r},{1 / folds!r},0]"  # the same validation share, and no test split
    outer = [Part(f"fold {fold}", f"/fold-{fold}", (f"data.fold={fold}",), fold) for fold in range(folds)]
    return [*outer, Part("all data", "", ("data.folds=null", "data.fold=0", f"data.split={shares}"))]

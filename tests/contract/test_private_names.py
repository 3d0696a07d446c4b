"""Names that other libraries keep for themselves: which are used, and what to do when one is gone.

``docs/design.md`` says why nothing public replaces them. What a new version of a library breaks fails here first.
"""

import ast
import inspect
from pathlib import Path

import pytest
import torch
import wandb
from lightning.pytorch.plugins import MixedPrecision
from tests.conftest import TINY
from wandb.sdk.lib import wbauth

import cellstate
from cellstate.model import SequenceModel

SOURCE = Path(cellstate.__file__).parent
PACKAGES = ("hydra", "omegaconf", "lightning", "torch", "optuna", "wandb", "polars", "matplotlib", "numpy", "rich")
# name -> the one file that may use it
USED = {
    "_step_supports_amp_scaling": "model/base.py",
    "_log_artifact": "logger/wandb.py",
    "_return_value": "sweep/sweeper.py",
    "hydra._internal.utils": "config/application.py",
    "wandb.sdk.lib": "logger/credentials.py",
}
# Of named tuples, os and Hydra's configs; the last is an annotation alone.
PUBLIC = {"_replace", "_fields", "_asdict", "_exit", "_target_", "_Hash"}


def own_names():
    """Private names that cellstate itself defines."""
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                yield node.name
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                yield node.attr if ast.unparse(node.value) in ("self", "cls") else ""
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def private(name):
    return name.startswith("_") and not name.startswith("__")


def foreign_names(file, own):
    """Private names of others that a file uses: modules that it imports, and attributes of objects."""
    for node in ast.walk(ast.parse(file.read_text())):
        modules = []
        if isinstance(node, ast.Import):
            modules = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module]
            if any(private(name.name) for name in node.names) and node.module.split(".")[0] in PACKAGES:
                yield node.module
        for module in modules:
            if module.split(".")[0] in PACKAGES and (any(map(private, module.split("."))) or "wandb.sdk" in module):
                yield module
        if isinstance(node, ast.Attribute) and private(node.attr) and node.attr not in own | PUBLIC:
            of_itself = ast.unparse(node.value) in ("self", "cls", "super()")
            if not of_itself:
                yield node.attr


def test_no_private_name_is_used_but_those_that_are_listed_each_in_its_place():
    own = set(own_names())
    files = {file: str(file.relative_to(SOURCE)) for file in SOURCE.rglob("*.py")}
    found = {(name, place) for file, place in files.items() for name in foreign_names(file, own)}
    assert ("wandb.sdk.lib", "logger/credentials.py") in found  # the search finds what is there
    unlisted = {(name, file) for name, file in found if file not in USED.get(name, "").split(", ")}
    assert not unlisted, "use something public, or list it here and in docs/design.md, with a test of what it does"


def clip(optimizer):
    """Clip gradients as a run with trainer.precision=16-mixed does."""
    scaler = torch.amp.GradScaler("cpu")
    MixedPrecision("16-mixed", "cuda", scaler=scaler).clip_gradients(optimizer, clip_val=1.0)


def test_a_fused_optimizer_is_clipped_only_without_its_mark():
    optimizer = torch.optim.Adam(torch.nn.Linear(2, 2).parameters(), fused=True)
    assert optimizer._step_supports_amp_scaling, (
        "torch has renamed the mark of optimisers that undo gradient scaling within their step: find its new name in "
        "torch/amp/grad_scaler.py, and set that in SequenceModel.configure_optimizers"
    )
    with pytest.raises(RuntimeError, match="does not allow for gradient clipping"):
        clip(optimizer)  # if this passes, Lightning no longer refuses it, and the line in the model can go
    optimizer._step_supports_amp_scaling = False
    clip(optimizer)


def test_no_attribute_that_lightning_sets_within_a_step_takes_the_slow_way(monkeypatch, working_folder):  # noqa: ARG001
    """The slow way is ``nn.Module.__setattr__``; 46 such calls a step are a tenth of a small network's time."""
    slow, steps = [], []
    set_slowly, step = torch.nn.Module.__setattr__, SequenceModel.training_step

    def counted(model, *given):
        steps.append(len(slow))
        return step(model, *given)

    def noted(module, name, value):
        if isinstance(module, SequenceModel):
            slow.append(name)
        set_slowly(module, name, value)

    monkeypatch.setattr(torch.nn.Module, "__setattr__", noted)
    monkeypatch.setattr(SequenceModel, "training_step", counted)
    cellstate.train(["experiment=pattern", *TINY, "data.batch_size=8", "hydra.run.dir=run"])
    names = set(slow[steps[1] : steps[-1]])
    assert len(steps) == 8
    assert not names, f"Lightning sets {names} at every hook: add them to _BOOKKEEPING in model/base.py"


def test_wandb_takes_an_offline_run_s_data_as_used():
    assert "use_after_commit" in inspect.signature(wandb.Run._log_artifact).parameters, (
        "W&B has changed how an artifact is logged as an input: see what Run.use_artifact does with one that is not "
        "logged yet, and do the same in WandbLogger._log_data; or use it, if it works offline by now"
    )


def test_wandb_can_be_asked_for_a_key_without_asking_back():
    asked = {"host": "https://api.wandb.ai", "source": "cellstate", "prompt": False, "update_session": False}
    try:
        inspect.signature(wbauth.authenticate_session).bind(**asked)
    except TypeError as error:
        pytest.fail(f"W&B looks for its key in another way now ({error}): see wandb.login, and mend has_key()")

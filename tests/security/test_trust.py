"""A researcher's own classes: refused in checkpoints and run folders until their package is named with ``trust``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import TINY, Command
from tests.security.forging import changed

import cellstate as package
from cellstate.checkpoint.trust import within
from cellstate.errors import RequestError

MODULES = {
    "mylab/__init__.py": "",
    "mylab/parts.py": '''
import os
import subprocess
import torch
from cellstate.config.types import PositiveInt
from cellstate.backbone import LSTM
from cellstate.data import PatternData
from cellstate.model import Classifier
from lightning.pytorch.callbacks import Callback
from pathlib import Path
from elsewhere import Borrowed

class Bits(PatternData):
    """Reads what a user's own data class may."""

    def __init__(self, *, extra: PositiveInt = 1, **others):
        super().__init__(**others)
        self.extra = extra

class Judge(Classifier):
    def forward(self, inputs, lengths=None):
        return 2 * super().forward(inputs, lengths)

class Wide(LSTM):
    def __init__(self, input_size, hidden_size=8):
        super().__init__(input_size, 2 * hidden_size)

class Notes(Callback):
    def on_fit_start(self, trainer, pl_module):
        Path("noted").touch()

def sgd(parameters, lr=0.1):
    return torch.optim.SGD(parameters, lr=lr)

class Sgd(torch.optim.SGD):
    pass
''',
    "elsewhere.py": "from cellstate.data import PatternData\nclass Borrowed(PatternData):\n    pass\n",
    "mylab_evil.py": "open('exploded', 'w').close()\nfrom mylab.parts import *\n",
    "broken.py": "raise RuntimeError('no such licence')\n",
}
WORDS = [
    "experiment=pattern",
    *(word for word in TINY if word != "backbone.hidden_size=8"),
    *("data._target_=mylab.parts.Bits", "+data.extra=3", "model._target_=mylab.parts.Judge"),
    *("~backbone", "+backbone._target_=mylab.parts.Wide", "+backbone.hidden_size=4"),
    *("~optimizer", "+optimizer._target_=mylab.parts.Sgd", "+optimizer.lr=0.1"),
    "+callbacks.notes._target_=mylab.parts.Notes",
]


@pytest.fixture(autouse=True)
def lab(working_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The user's own package, on the path."""
    for name, text in MODULES.items():
        file = working_folder / "lib" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(working_folder / "lib")
    yield working_folder / "lib"
    for name in [name for name in sys.modules if name.partition(".")[0] in ("mylab", "elsewhere", "mylab_evil")]:
        del sys.modules[name]


@pytest.fixture
def trained() -> package.Run:
    """A run with a data set, a model, a backbone, an optimiser and a callback of the user's own."""
    run = package.train([*WORDS, "hydra.run.dir=run"])
    Path("noted").unlink()
    return run


def test_a_checkpoint_of_ones_own_classes_is_used_once_their_package_is_trusted(
    trained: package.Run, cellstate: Command
) -> None:
    file = trained.checkpoint
    for attempt in (package.load, package.evaluate):
        with pytest.raises(RequestError, match=r"has (data|backbone)='mylab\.parts\.\w+'.*trust=\[PACKAGE\]"):
            attempt(file)  # type: ignore[operator]
    for trust in ("mylab", ["mylab"], ["mylab.parts"], ["other", "mylab.parts"]):
        assert package.evaluate(file, trust=trust).differing == []
    assert type(package.load(file, trust=["mylab"])).__name__ == "Judge"
    refused = cellstate("evaluate", f"checkpoint={file}")
    assert (refused.status, len(refused.errors)) == (2, 1)
    for words in (["trust=[mylab]"], ["trust=mylab"], ["trust=[mylab.parts,other]"]):
        answer = cellstate("evaluate", f"checkpoint={file}", *words)
        assert answer.status == 0, answer.stderr
        assert "reproduced: 8 of 8 metrics identical" in answer.stdout
    rows = "id,step,bit\n" + "".join(f"{number},{step},{step % 2}\n" for number in (1, 2) for step in range(20))
    Path("new.csv").write_text(rows.replace("step", "time"))
    assert cellstate("predict", f"checkpoint={file}", "input=new.csv", "output=out.csv").status == 2
    answer = cellstate("predict", f"checkpoint={file}", "input=new.csv", "output=out.csv", "trust=[mylab]")
    assert answer.status == 0, answer.stderr


def test_a_run_of_ones_own_classes_goes_on_once_their_package_is_trusted(
    trained: package.Run, cellstate: Command
) -> None:
    manifest = trained.folder / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "status": "interrupted"}))
    refused = cellstate("train", "run=run")
    assert refused.status == 2
    (line,) = refused.errors
    assert "run/config.yaml: the config has data='mylab.parts.Bits'" in line
    assert "trust=[PACKAGE]" in line
    with pytest.raises(RequestError, match="trust="):
        package.resume("run")
    answer = cellstate("train", "run=run", "trust=[mylab]")
    assert answer.status == 0, answer.stderr
    assert json.loads(manifest.read_text())["status"] == "completed"
    assert Path("noted").exists()


def test_auto_trusts_what_the_command_itself_names(trained: package.Run, cellstate: Command) -> None:
    manifest = trained.folder / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "status": "interrupted"}))
    answer = cellstate("train", *WORDS, "resume=auto", "hydra.run.dir=new")
    assert answer.status == 0, answer.stderr
    assert json.loads(manifest.read_text())["status"] == "completed"
    assert not Path("new").exists()


@pytest.mark.parametrize(
    ("target", "trust", "complaint"),
    [
        ("mylab.parts.Bits", ["my"], "the config has data='mylab.parts.Bits'"),
        ("mylab_evil.Bits", ["mylab"], "the config has data='mylab_evil.Bits'"),
        ("mylab.parts.Borrowed", ["mylab"], "defined in elsewhere, which is not trusted"),
        ("mylab.parts.os.system", ["mylab"], "cannot be imported (ModuleNotFoundError"),
        ("mylab.parts.subprocess", ["mylab"], "not a subclass of SequenceData"),
        ("mylab.parts.Judge", ["mylab"], "not a subclass of SequenceData"),
        ("mylab.parts.sgd", ["mylab"], "not a subclass of SequenceData"),
        ("mylab.parts.nothing", ["mylab"], "not a subclass of SequenceData"),
        ("os.system", ["os", "posix"], "not a subclass of SequenceData, although its package is trusted"),
        ("subprocess.Popen", ["subprocess"], "not a subclass of SequenceData"),
        ("broken.Bits", ["broken"], "cannot be imported (RuntimeError: no such licence)"),
        ("absent.Bits", ["absent"], "cannot be imported (ModuleNotFoundError: No module named 'absent')"),
        ("mylab.parts.Bits", ["my lab"], "trust='my lab': not a package name"),
        ("mylab.parts.Bits", [""], "trust='': not a package name"),
        ("mylab.parts.Bits", 3, "trust=3: not a package name"),
    ],
)
def test_trust_reaches_no_further_than_its_packages(
    target: str, trust: list[str], complaint: str, good: Path, working_folder: Path
) -> None:
    file = changed(
        good, working_folder / "changed.ckpt", lambda record, _: record["config"]["data"].update(_target_=target)
    )
    with pytest.raises(RequestError) as caught:
        package.evaluate(file, trust=trust)
    (line,) = caught.value.problems
    assert complaint in line
    assert not Path("exploded").exists()


def test_arguments_of_a_trusted_class_are_held_against_its_annotations(good: Path, working_folder: Path) -> None:
    def mine(record: dict, _: object) -> None:
        record["config"]["data"].update(_target_="mylab.parts.Bits", extra=-1)

    with pytest.raises(RequestError, match=r"data\.extra=-1: should be greater than 0"):
        package.evaluate(changed(good, working_folder / "changed.ckpt", mine), trust=["mylab"])


def test_a_module_is_within_a_package_by_whole_names() -> None:
    assert within("a.b.c", ["a.b"])
    assert within("a.b", ["x", "a.b"])
    assert not within("a.bc", ["a.b"])
    assert not within("a", ["a.b"])
    assert not within("a.b", [])

"""A run folder that came from elsewhere: ``cellstate train run=FOLDER`` takes its config for data too."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.conftest import TINY, Command
from tests.security.conftest import SECRET, Refusal
from tests.security.forging import Exploding, changed, entries_of, saved, zipped

import cellstate as package
from cellstate import checkpoint
from cellstate.callbacks import Checkpoints
from cellstate.errors import RequestError
from cellstate.scoring.permitted import read_config


class KilledError(RuntimeError):
    """Takes the place of a kill."""


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended after its second step."""
    folder = tmp_path_factory.mktemp("killed") / "run"

    def ending(self: Checkpoints, trainer: Any, *_: Any) -> None:
        if trainer.global_step == 2:
            self._keep_if_best = lambda _: None  # type: ignore[method-assign]
            self._save_last(trainer)
            raise KilledError

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Checkpoints, "on_train_batch_end", ending)
        with pytest.raises(KilledError):
            package.train(["experiment=pattern", *TINY, "data.batch_size=16", f"hydra.run.dir={folder}"])
    return folder


@pytest.fixture
def folder(killed: Path, working_folder: Path) -> Path:
    """A copy of it, to change."""
    return Path(shutil.copytree(killed, working_folder / "run"))


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change a folder's config."""
    file = folder / "config.yaml"
    values = yaml.safe_load(file.read_text())
    change(values)
    file.write_text(yaml.safe_dump(values))


def test_the_folder_as_it_is_goes_on(folder: Path) -> None:
    """The suite below proves little if this were refused as well."""
    run = package.resume(folder)
    assert run is not None
    assert run.metrics["steps"] == 4


TOUCH = {"_target_": "os.system", "command": "touch exploded"}
NAMES = [
    "os.system",
    "logging.os.system",
    "subprocess.Popen",
    "builtins.eval",
    "torch.os.system",
    "torch.load",
    "torch.optim.os.system",
    "torch.optim.lr_scheduler.LambdaLR",
    "lightning.os.system",
    "lightning.pytorch.callbacks.LambdaCallback",
    "lightning.pytorch.callbacks.ModelCheckpoint",
    "lightning.pytorch.loggers.MLFlowLogger",
    "lightning.pytorch.cli.LightningCLI",
    "cellstate.callbacks.os.system",
    "cellstate.scheduler.plateau.os.system",
    "cellstate.scoring.permitted.os.system",
    "hydra.utils.instantiate",
    "evil.Thing",
    "${oc.env:CELLSTATE_SECRET}",
]


PARTS = ("data", "model", "backbone", "optimizer", "scheduler", "checkpoint", "trainer", "callbacks.x", "logger.x")


@pytest.mark.parametrize("name", NAMES)
def test_no_part_of_a_recorded_config_names_what_is_not_listed(name: str, folder: Path, refusal: Refusal) -> None:
    config, node = (folder / "config.yaml").read_text(), {"_target_": name, "command": "touch exploded"}
    for part in PARTS:
        section, _, member = part.partition(".")
        (folder / "config.yaml").write_text(config)
        rewrite(folder, lambda values, new={section: {member: node} if member else node}: values.update(new))
        line = refusal(lambda: package.resume(folder))
        assert line.startswith(f"{folder / 'config.yaml'}: ")
        assert f"has {section}='{name}'" in line or "contains the interpolation" in line


def put(section: str, **values: Any) -> Callable[[dict[str, Any]], object]:
    return lambda config: config[section].update(values)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (put("data", more=TOUCH), "the config of data contains more than plain values"),
        (put("data", pattern=[TOUCH]), "the config of data contains more than plain values"),
        (put("model", _partial_=True), "the config of model contains more than plain values"),
        (put("trainer", plugins=[TOUCH]), "the config of trainer contains more than plain values"),
        (put("trainer", _args_=[TOUCH]), "the config of trainer contains more than plain values"),
        (put("trainer", logger=True), "trainer.logger: is filled in by cellstate"),
        (put("trainer", default_root_dir="/etc"), "trainer.default_root_dir: is filled in by cellstate"),
        (put("trainer", devices=10**9), "trainer.devices=1000000000: more than"),
        (put("trainer", devices="1" * 19), ": more than"),
        (put("checkpoint", folder="/etc"), "checkpoint.folder: is filled in by cellstate"),
        (put("optimizer", lr="${oc.env:CELLSTATE_SECRET}"), "contains the interpolation '${oc.env:CELLSTATE_SECRET}'"),
        (put("data", path="${oc.decode:x}"), "contains the interpolation"),
        (put("data", train_size=10**15), "drawing 1,000,000,000,000,064 sequences"),
        (put("backbone", hidden_size=10**7), "the network has"),
        (put("backbone", hidden_size=10**12), "does not fit into memory"),
        (put("backbone", num_layers=10**9), "backbone.num_layers=1000000000: should be less than or equal to 1000"),
        (lambda config: config.update(callbacks=[TOUCH]), "callbacks: not a mapping of names"),
        (lambda config: config.update(callbacks={"x": "os.system"}), "callbacks.x: has no _target_"),
        (lambda config: config.update(data="os.system"), "data: has no _target_"),
        (lambda config: config.update(hydra={"run": {"dir": "/etc"}}), "hydra: unknown key"),
        (lambda config: config.update(seed="${oc.env:CELLSTATE_SECRET}"), "contains the interpolation"),
        (lambda config: config.update(trust=["os"], data={"_target_": "os.system"}), "the config has data='os.system'"),
    ],
)
def test_no_key_of_a_recorded_config_does_harm(change: Any, complaint: str, folder: Path, refusal: Refusal) -> None:
    rewrite(folder, change)
    began = time.process_time()
    assert complaint in refusal(lambda: package.resume(folder))
    assert time.process_time() - began < 30, "it began to work on it"


def csv(**arguments: Any) -> dict[str, Any]:
    return {"_target_": "lightning.pytorch.loggers.CSVLogger", **arguments}


def wandb(**arguments: Any) -> dict[str, Any]:
    return {"_target_": "lightning.pytorch.loggers.WandbLogger", **arguments}


@pytest.mark.parametrize(
    ("node", "complaint"),
    [
        (csv(save_dir="/etc"), "logger.x.save_dir='/etc': outside of the run folder"),
        (csv(save_dir="run/../other"), "outside of the run folder"),
        (csv(save_dir="logs"), "outside of the run folder"),
        (csv(save_dir="run/logs", name="../../other"), "logger.x.name='../../other': outside of its folder"),
        (csv(save_dir="run/logs", version="/etc"), "outside of its folder"),
        (
            wandb(settings={"base_url": "http://evil.example"}),
            "logger.x.settings: only accepted from a recorded config with trust=[lightning.",
        ),
        (wandb(experiment="x"), "logger.x.experiment: only accepted from a recorded config with trust="),
        (wandb(save_dir="/"), "outside of the run folder"),
    ],
)
def test_a_recorded_logger_writes_and_sends_nothing_elsewhere(
    node: dict[str, Any], complaint: str, folder: Path, refusal: Refusal
) -> None:
    rewrite(folder, lambda config: config.update(logger={"x": node}))
    assert complaint in refusal(lambda: package.resume(folder))


def test_a_recorded_logger_in_the_folder_is_taken_up(folder: Path) -> None:
    rewrite(folder, lambda config: config.update(logger={"x": csv(save_dir="run/logs")}))
    assert package.resume(folder) is not None
    assert list(folder.glob("logs/**/metrics.csv"))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("seed: &a [1]\ndata: *a\n", "contains tags or aliases"),
        ("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\n", "contains tags or aliases"),
        ("seed: !!python/object/apply:os.system ['touch exploded']\n", "contains tags or aliases"),
        ("seed: !!int '3'\n", "contains tags or aliases"),
        ("data: " + "[" * 1000 + "]" * 1000 + "\n", "too deep or too long for a config"),
        ("data: [" + "1," * 10**6 + "1]\n", "too deep or too long for a config"),
        ("- os.system\n", "not a config of a run"),
        ("os.system\n", "not a config of a run"),
        ("", "not a config of a run"),
        ("seed: 1\n", "not a config of a run"),
        ("{", "not a valid config"),
        ("seed: 1\n---\nseed: 2\n", "not a valid config"),
        ("\0", "not a valid config"),
    ],
    ids=lambda value: value[:30],
)
def test_yaml_that_no_run_wrote_is_refused(text: str, complaint: str, folder: Path, refusal: Refusal) -> None:
    (folder / "config.yaml").write_text(text)
    assert complaint in refusal(lambda: package.resume(folder))


def test_a_cache_that_a_folder_names_is_used_only_where_it_is_one(folder: Path) -> None:
    cache = folder.parent / "cache"
    rewrite(folder, lambda config: config.update(data={"_target_": "cellstate.data.TextData", "cache": str(cache)}))
    assert read_config(folder).data.cache is None
    cache.mkdir()
    assert read_config(folder).data.cache is None
    (cache / "book-0123.tokens").write_bytes(b"")
    assert read_config(folder).data.cache == str(cache)


def test_a_ledger_that_a_folder_names_is_written_to_only_where_it_is_one(folder: Path) -> None:
    elsewhere = folder.parent / "home" / ".profile"
    rewrite(folder, lambda config: config.update(ledger=str(elsewhere)))
    assert read_config(folder).ledger == "outputs/ledger.csv"
    elsewhere.parent.mkdir()
    elsewhere.write_text("umask 077\n")
    assert package.resume(folder) is not None
    assert elsewhere.read_text() == "umask 077\n"
    assert Path("outputs/ledger.csv").exists()
    mine = folder.parent / "mine.csv"
    shutil.copy("outputs/ledger.csv", mine)
    rewrite(folder, lambda config: config.update(ledger=str(mine)))
    assert read_config(folder).ledger == str(mine)
    assert read_config(folder, ledger="other.csv").ledger == "other.csv"


@pytest.mark.parametrize(
    "name", ["checkpoints/last.tmp", "manifest.json", "metrics.csv", "report.html", ".lock", "checkpoints"]
)
def test_links_that_lead_out_of_the_folder_are_not_followed(name: str, folder: Path, refusal: Refusal) -> None:
    victim = folder.parent / "victim"
    entry = folder / name
    if entry.is_dir():
        shutil.move(entry, victim)
    else:
        victim.write_bytes(entry.read_bytes() if entry.exists() else b"untouched")
        entry.unlink(missing_ok=True)
    entry.symlink_to(victim)
    content = victim.read_bytes() if victim.is_file() else None
    assert refusal(lambda: package.resume(folder)).startswith(f"{entry}: link to {victim}")
    assert content is None or victim.read_bytes() == content


def test_a_draft_that_is_a_link_is_not_written_through(folder: Path) -> None:
    victim = folder.parent / "victim"
    victim.write_text("untouched")
    (folder / "checkpoints" / "last.tmp").symlink_to(victim)
    content = checkpoint.read(folder / "checkpoints" / "last.ckpt")
    checkpoint.write(content, folder / "checkpoints" / "last.ckpt")
    assert victim.read_text() == "untouched"
    assert not (folder / "checkpoints" / "last.tmp").exists()


def last(folder: Path) -> Path:
    return folder / "checkpoints" / "last.ckpt"


def set_value(place: str, value: Any) -> Callable[[Path], object]:
    """Return a change to a folder's last checkpoint: the value at a place, parts of it between slashes."""

    def change(folder: Path) -> None:
        def at_place(_: Any, content: Any) -> None:
            *way, end = place.split("/")
            for part in way:
                content = content[int(part) if part.isdecimal() else part]
            content[end] = value

        changed(last(folder), last(folder), at_place)

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (set_value("callbacks/mine", Exploding()), "contains more than plain values and tensors (posix.system)"),
        (
            lambda folder: zipped({**entries_of(last(folder)), "../x": b""}, last(folder)),
            "invalid layout",
        ),
        (lambda folder: saved({"state_dict": {}}, last(folder)), "it has no record of its experiment"),
        (set_value("state_dict/head.bias", [0.0, 0.0]), "invalid record (state_dict.head.bias)"),
        (set_value("loops", None), "invalid record (loops)"),
        (set_value("optimizer_states", {}), "invalid record (optimizer_states)"),
        (set_value("pytorch-lightning_version", "${x}"), "invalid record (pytorch-lightning_version)"),
        (set_value("global_step", -1), "invalid record (global_step)"),
        (set_value("state_dict/head.bias", torch.zeros(10**6)), "cannot be restored"),
        (set_value("optimizer_states/0/param_groups", []), "cannot be restored"),
        (set_value("cellstate_training/0/mean_loss", []), "cannot be restored"),
        (set_value("cellstate_random", [{"python": [3, [2**40], None]}]), "random state cannot be restored"),
    ],
)
def test_a_checkpoint_that_a_folder_goes_on_from_is_no_way_in(
    change: Callable[[Path], object], complaint: str, folder: Path, working_folder: Path
) -> None:
    change(folder)
    with pytest.raises(RequestError) as caught:
        package.resume(folder)
    (line,) = caught.value.problems
    assert complaint in line
    assert not (working_folder / "exploded").exists()


def test_what_hydra_recorded_is_printed_as_it_stands(folder: Path) -> None:
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "overrides.yaml").write_text(
        "- seed=${oc.env:CELLSTATE_SECRET}\n- ${oc.env:CELLSTATE_SECRET}\n"
    )
    rewrite(folder, lambda config: config.update(report=True))
    assert package.resume(folder) is not None
    assert "${oc.env:CELLSTATE_SECRET}" in (folder / "report.html").read_text()
    leaks = [file for file in folder.rglob("*") if file.is_file() and SECRET.encode() in file.read_bytes()]
    assert leaks == []


def test_auto_passes_over_what_is_not_the_users_own(folder: Path, cellstate: Command) -> None:
    """``resume=auto`` looks at all folders beside the new one, whatever lies in them."""
    others = {"z1": "a: &a [*a]\n", "z2": "seed: ${oc.env:CELLSTATE_SECRET}\n", "z3": "- 1\n", "z4": "{", "z5": ""}
    for name, text in others.items():
        (folder.parent / name).mkdir()
        (folder.parent / name / "manifest.json").write_text("{}")
        (folder.parent / name / "config.yaml").write_text(text)
    words = ("experiment=pattern", *TINY, "data.batch_size=16", "resume=auto", "hydra.run.dir=new")
    answer = cellstate("train", *words)
    assert answer.status == 0, answer.stderr
    assert (folder / "metrics.json").exists()
    assert not Path("new").exists()


def test_the_users_own_config_stays_as_free_as_hydra_makes_it(
    cellstate: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELLSTATE_SEED", "5")
    folder = Path("mine/experiment")
    folder.mkdir(parents=True)
    (folder / "free.yaml").write_text("""\
# @package _global_
# Names what cellstate has never heard of, and asks the environment.
defaults:
  - pattern
seed: ${oc.decode:${oc.env:CELLSTATE_SEED}}
callbacks:
  mine:
    _target_: lightning.pytorch.callbacks.LambdaCallback
    on_fit_start:
      _target_: hydra.utils.get_method
      path: pytest.fail
""")
    monkeypatch.setattr(pytest, "fail", lambda *_: Path("called").touch())
    answer = cellstate("train", "--config-dir", "mine", "experiment=free", *TINY, "hydra.run.dir=run")
    assert answer.status == 0, answer.stderr
    assert Path("called").exists()
    assert "seed: 5\n" in Path("run/config.yaml").read_text()

"""The wheel alone, outside the checkout, is the whole product."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from tests.conftest import series_rows, write_csv

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The ``bin`` folder of an empty environment that holds the wheel; third-party packages are borrowed.

    They come through a path file, and path files do not chain: the editable install of this checkout stays unseen.
    """
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = folder.glob("cellstate-*.whl")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel]
    subprocess.run(install, check=True, capture_output=True)
    (Path(site) / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


def execute(folder, *words):
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(words, cwd=folder, env=environment, check=True, capture_output=True, text=True)


def command(installed, folder, *words):
    return execute(folder, installed / "cellstate", *words)


def test_the_wheel_trains_in_an_empty_folder_with_all_its_configs(installed, tmp_path):
    origin = execute(tmp_path, installed / "python", "-c", "import cellstate; print(cellstate.__file__)").stdout
    assert str(installed.parent) in origin, "the test would try out the checkout"

    listed = command(installed, tmp_path, "list").stdout
    for file in (ROOT / "conf").glob("*/*.yaml"):
        assert file.stem in listed

    small = ["trainer.max_epochs=1", "data.train_size=64", "data.val_size=32", "data.test_size=32", "report=false"]
    command(installed, tmp_path, "train", "-m", "seed=0,1", *small)  # whose sweeper is a plugin of Hydra
    (sweep,) = tmp_path.glob("outputs/sweeps/*/sweep.json")
    jobs = json.loads(sweep.read_text())["jobs"]
    assert [job["status"] for job in jobs] == ["completed"] * 2
    again = command(installed, tmp_path, "evaluate", f"checkpoint={sweep.parent / jobs[0]['folder']}").stdout
    assert "reproduced: 4 of 4 metrics identical" in again


@pytest.mark.slow
def test_a_checkpoint_and_the_wheel_are_all_it_takes_to_have_the_numbers_again(installed, tmp_path):
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    write_csv(there / "load.csv", series_rows(400))
    words = ("data.path=load.csv", "data.window=24", "trainer.max_epochs=2", "hydra.run.dir=run")
    trained = command(installed, there, "train", "experiment=series", *words).stdout
    assert "Test split evaluated once (outputs/ledger.csv)." in trained
    shutil.move(there / "run" / "checkpoints" / "best.ckpt", here / "only.ckpt")
    shutil.move(there / "load.csv", here / "moved.csv")
    shutil.rmtree(there)
    again = command(installed, here, "evaluate", "checkpoint=only.ckpt", "data.path=moved.csv").stdout
    assert "reproduced: 14 of 14 metrics identical" in again
    assert sorted(path.name for path in here.rglob("*")) == ["ledger.csv", "moved.csv", "only.ckpt", "outputs"]

"""A forked Python process cannot be told from one that an interpreter of its own runs, but for what is loaded in it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests import forkserver

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks and signals are POSIX")

SCRIPTS = {
    "what it is": "import os, sys; print(sys.argv, __name__, os.getcwd(), sorted(os.environ.items()), sys.path[0])",
    "an exit status": "import sys; print('said'); print('complained', file=sys.stderr); sys.exit(3)",
    "a text as exit status": "raise SystemExit('a complaint')",
    "what runs at the end": "import atexit; atexit.register(print, 'end'); print('begin', end=' ')",
    "a thread that outlives it": "import threading, time; threading.Timer(0.1, print, ['late']).start(); print('main')",
    "killed": "import os, signal; print('lost'); os.kill(os.getpid(), signal.SIGKILL)",
    "terminated": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "handled": "import os, signal; signal.signal(15, lambda *_: print('heard')); os.kill(os.getpid(), signal.SIGTERM)",
    "at once": "import os; print('lost'); os._exit(7)",
    "signals": "import signal as s; print([s.getsignal(n) for n in s.Signals if n != s.SIGINT])",  # SIGINT: see below
    "streams": "import sys; print([(s.isatty(), s.line_buffering, s.encoding) for s in (sys.stdin, sys.stdout)])",
    "input": "print(input(), 'and', input())",
    "leads a session": "import os; print(os.getsid(0) == os.getpid() == os.getpgid(0))",
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_ends_and_says_the_same(name: str, tmp_path: Path) -> None:
    environment = {**os.environ, "COLUMNS": "33", "MINE": "é"}
    environment.pop("HOME", None)
    (tmp_path / "given").write_text("one\ntwo\n")
    words = ["-c", SCRIPTS[name], "a b", "--c"]
    options = {"cwd": tmp_path, "env": environment, "start_new_session": name == "leads a session"}
    with (tmp_path / "given").open() as given:
        real = subprocess.run([sys.executable, *words], stdin=given, capture_output=True, text=True, **options)
        given.seek(0)
        forked = forkserver.run(words, stdin=given, **options)
    assert (forked.returncode, forked.stdout, forked.stderr) == (real.returncode, real.stdout, real.stderr)


def test_an_error_is_a_traceback_and_ctrl_c_is_a_signal() -> None:
    failed = forkserver.run(["-c", "def f(): 1 / 0\nf()"])
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
    waiting = "import time; print('here', flush=True); time.sleep(1000)"
    with forkserver.Process(["-c", waiting], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        assert child.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(0.01)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=100)
    assert child.returncode == -signal.SIGINT
    assert said.endswith("KeyboardInterrupt\n")


def test_a_module_runs_as_it_does_with_dash_m(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import sys; print(__name__, __spec__.name, sys.argv, sys.modules['__main__'].X)\n"
    )
    (tmp_path / "mine.py").write_text("X = 1\n" + (tmp_path / "mine.py").read_text())
    words = ["-m", "mine", "word"]
    real = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert forkserver.run(words, cwd=tmp_path, check=True).stdout == real.stdout


def test_it_finds_torch_loaded_and_no_thread_begun() -> None:
    code = "import os, sys; print('torch' in sys.modules, len(os.listdir('/proc/self/task')))"
    if Path("/proc/self/task").is_dir():
        assert forkserver.run(["-c", code], check=True).stdout == "True 1\n"


def test_children_draw_numbers_of_their_own() -> None:
    code = "import random, numpy; print(random.random(), numpy.random.random())"
    drawn = [forkserver.run(["-c", code], check=True).stdout.split() for _ in range(2)]
    assert not set(drawn[0]) & set(drawn[1])


def test_a_terminal_is_a_terminal() -> None:
    import pty

    ours, theirs = pty.openpty()
    code = "import os, sys; print(sys.stdout.isatty(), sys.stdout.line_buffering, os.ttyname(1) == os.ttyname(0))"
    with forkserver.Process(["-c", code], stdin=theirs, stdout=theirs, stderr=theirs) as child:
        os.close(theirs)
        with os.fdopen(ours) as terminal:
            assert terminal.readline().split() == ["True"] * 3
    assert child.returncode == 0


def test_what_only_a_new_interpreter_would_notice_is_rejected() -> None:
    for name in ("PYTHONPATH", "OMP_NUM_THREADS", "ATEN_CPU_CAPABILITY"):
        with pytest.raises(ValueError, match=f"{name} is read as a process starts"):
            forkserver.run(["-c", ""], env={**os.environ, name: "another"})

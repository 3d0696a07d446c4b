"""Python processes that begin with torch, Lightning and Hydra already loaded.

``Process(["-m", "cellstate", "train"])`` is ``subprocess.Popen([sys.executable, "-m", "cellstate", "train"])`` without
the seconds of imports: a server that has loaded the heavy libraries, and runs nothing, forks a child for each command
line. The child gets its own working folder, environment, streams and session, runs the module or the code as
``__main__``, and ends as an interpreter does: exit status, signals, ``atexit`` and tracebacks are the usual ones.
Ctrl-C interrupts it also where tests run in the background, whose processes ignore it.

What a forked child cannot show, so that a test of it must start ``sys.executable``: what is imported and when,
``PYTHONPATH`` and other variables that are read only as an interpreter or a library starts (they are rejected here),
another hash seed than that of its siblings, and a module of the working folder that takes the place of a library.
``multiprocessing``'s own fork server is not used: its children end without ``atexit`` and read nothing from stdin.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

PRELOADED = ("torch", "lightning", "torchmetrics", "hydra", "pydantic", "matplotlib.figure", "PIL.Image")
# Variables that an interpreter, OpenMP, torch or the dynamic linker read once, as they start.
READ_AT_START = ("PYTHON", "OMP_", "GOMP_", "MKL_", "OPENBLAS_", "ATEN_", "ONEDNN_", "LD_")
LONGEST = 2**20  # bytes of a request: a command line and an environment
PATIENCE = 600.0  # seconds until what hangs fails: far more than anything takes, on a busy machine too
STREAMS = ("stdin", "stdout", "stderr")


class Process:
    """A forked Python process, used as one that ``subprocess.Popen`` started.

    Args:
        arguments: what follows ``python`` on a command line: ``-m MODULE ...`` or ``-c CODE ...``.
        cwd: its working folder; by default that of this process.
        env: its environment; by default that of this process.
        stdin: a file, a descriptor, ``subprocess.PIPE`` or ``subprocess.DEVNULL``; None: that of this process.
        stdout: likewise.
        stderr: likewise, or ``subprocess.STDOUT``.
        start_new_session: whether it leads a session, and so a process group, of its own.

    Raises:
        ValueError: a variable of ``env`` that is read only as a process starts differs from that of this process.
    """

    def __init__(
        self,
        arguments: Sequence[str | Path],
        *,
        cwd: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        stdin: Any = None,
        stdout: Any = None,
        stderr: Any = None,
        start_new_session: bool = False,
    ) -> None:
        environment = dict(os.environ if env is None else env)
        check_environment(environment)
        self.args, self.returncode = [str(word) for word in arguments], None
        self._handles: dict[str, IO[str]] = {}
        theirs = [self._open(name, wanted) for name, wanted in zip(STREAMS, (stdin, stdout, stderr), strict=True)]
        if stderr == subprocess.STDOUT:
            theirs[2] = os.dup(theirs[1])
        self._news, told = os.pipe()
        request = [self.args, str(cwd or Path.cwd()), environment, start_new_session]
        socket.send_fds(server()[0], [json.dumps(request).encode()], [*theirs, told])
        for descriptor in (*theirs, told):
            os.close(descriptor)
        self.pid = int(self._hear())

    def _open(self, name: str, wanted: Any) -> int:
        """Return the child's end of a stream, and keep the other end where there is one."""
        if wanted == subprocess.PIPE:
            reading, writing = os.pipe()
            ours, theirs = (writing, reading) if name == "stdin" else (reading, writing)
            self._handles[name] = os.fdopen(ours, "w" if name == "stdin" else "r")
            return theirs
        if wanted in (subprocess.DEVNULL, subprocess.STDOUT):
            return os.open(os.devnull, os.O_RDWR)
        if wanted is None:
            return os.dup(STREAMS.index(name))
        return os.dup(wanted if isinstance(wanted, int) else wanted.fileno())

    def _hear(self) -> str:
        """Wait for the next line of the child's keeper: its process id, then how it ended."""
        line = b""
        while not line.endswith(b"\n"):
            if not (sign := os.read(self._news, 1)):
                raise RuntimeError(f"the fork server ended before {self.args[:3]} did")
            line += sign
        return line.decode()

    @property
    def stdin(self) -> IO[str] | None:
        return self._handles.get("stdin")

    @property
    def stdout(self) -> IO[str] | None:
        return self._handles.get("stdout")

    @property
    def stderr(self) -> IO[str] | None:
        return self._handles.get("stderr")

    def poll(self) -> int | None:
        """Return its exit status, minus the signal that ended it; None while it runs."""
        if self.returncode is None and select.select([self._news], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return its exit status once it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not ended after so many seconds.
        """
        if self.returncode is None:
            if not select.select([self._news], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
            self.returncode = os.waitstatus_to_exitcode(int(self._hear()))
            os.close(self._news)
        return self.returncode

    def communicate(self, input: str | None = None, timeout: float = PATIENCE) -> tuple[Any, Any]:
        """Write ``input``, read both streams to their ends, wait, close all, and return what was read.

        Raises:
            subprocess.TimeoutExpired: it has not ended after so many seconds.
        """
        until = time.monotonic() + timeout
        with ThreadPoolExecutor(2) as readers:
            said = [stream and readers.submit(stream.read) for stream in (self.stdout, self.stderr)]
            if self.stdin is not None:
                self.stdin.write(input or "")
                self.stdin.close()
            try:
                self.wait(timeout)
                left = max(0.0, until - time.monotonic())
                stdout, stderr = (part and part.result(left) for part in said)
            except (subprocess.TimeoutExpired, TimeoutError):
                self.kill()  # or the readers would wait for ever
                raise
        self._close()
        return stdout, stderr

    def _close(self) -> None:
        for stream in self._handles.values():
            stream.close()

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it is known to have ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()
        self.wait()


def run(
    arguments: Sequence[str | Path], *, check: bool = False, timeout: float = PATIENCE, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end with both outputs captured; ``options`` are those of ``Process``."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Process(arguments, **{**pipes, **options}) as process:
        stdout, stderr = process.communicate(timeout=timeout)
    ended = subprocess.CompletedProcess(process.args, process.wait(), stdout, stderr)
    if check:
        ended.check_returncode()
    return ended


def check_environment(environment: Mapping[str, str]) -> None:
    """Raise ValueError where a child would need a new interpreter to notice its environment."""
    for name in sorted({*environment, *os.environ}):
        if name.startswith(READ_AT_START) and environment.get(name) != os.environ.get(name):
            raise ValueError(f"{name} is read as a process starts: start sys.executable instead")


@functools.cache
def server() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Return the connection to this process's server, and the server, which ends when the connection closes."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    atexit.register(ours.close)
    with theirs:
        command = [sys.executable, __file__, str(theirs.fileno())]
        return ours, subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])


# ---------------------------------------------------------------------- in the server


def serve(connection: socket.socket) -> list[str] | None:
    """Fork a child for each request; return its arguments in the child, and None in the server when all is done."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the tests, and the server with them
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how a keeper ended
    while True:
        message, descriptors, _, _ = socket.recv_fds(connection, LONGEST, 4)
        if not message:
            return None
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            connection.close()
            return keep(json.loads(message), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def keep(request: list[Any], descriptors: list[int]) -> list[str]:
    """Fork the child proper, in which this returns, its process id told; here stay until it has ended, and tell how."""
    *streams, told = descriptors
    if child := os.fork():
        for descriptor in streams:
            os.close(descriptor)
        _, status = os.waitpid(child, 0)
        os.write(told, f"{status}\n".encode())
        os._exit(0)
    arguments, folder, environment, session = request
    for number, descriptor in enumerate(streams):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if session:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.write(told, f"{os.getpid()}\n".encode())  # now that whoever knows it may signal it, or its whole group
    os.close(told)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    assert isinstance(sys.stdout, io.TextIOWrapper)
    sys.stdout.reconfigure(line_buffering=os.isatty(1))
    return arguments


def become(arguments: list[str]) -> None:
    """Run a command line of Python in this process."""
    kind, what, *words = arguments
    sys.modules["numpy"].random.seed()  # Python's own generator is seeded again by each fork, NumPy's is not
    if kind == "-m":
        sys.path.insert(0, str(Path.cwd()))
        sys.argv = [what, *words]
        runpy.run_module(what, run_name="__main__", alter_sys=True)
        return
    assert kind == "-c", f"{kind}: neither -m nor -c"
    sys.path.insert(0, "")
    sys.argv = ["-c", *words]
    main = sys.modules["__main__"] = type(sys)("__main__")
    exec(compile(what, "<string>", "exec"), main.__dict__)


if __name__ == "__main__":
    del sys.path[0]  # the folder of this file, of which a child knows nothing
    for name in PRELOADED:
        importlib.import_module(name)
    gc.freeze()  # what is loaded stays shared
    if (command := serve(socket.socket(fileno=int(sys.argv[1])))) is not None:
        become(command)

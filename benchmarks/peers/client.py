"""Asking the strategies of other libraries, which run in a process and an environment of their own."""

import contextlib
import json
import os
import queue
import subprocess
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import ArrayLike

ROOT = Path(__file__).parent.parent.parent
PYTHON = ROOT / ".venv-peers" / "bin" / "python"
SECONDS_MAX = 120.0
START_SECONDS_MAX = 120.0  # the libraries are imported before the first answer
TAIL_CHARACTERS = 800


class PeerError(RuntimeError):
    """A peer that is missing, failed, or took too long."""


@dataclass(frozen=True)
class Choice:
    """Pool indices (count,), the seconds the library took for them, and what it warned of."""

    chosen: list[int]
    seconds: float
    warnings: list[str]


class Peers:
    """The strategies of scikit-activeml and small-text; a context manager around the process that has them.

    Raises PeerError when the environment is missing. A process that dies or is stopped for taking too long is
    started anew by the next question, which may take `start_timeout` seconds more.
    """

    def __init__(self, python: Path = PYTHON, start_timeout: float = START_SECONDS_MAX) -> None:
        if not python.exists():
            raise PeerError(f"{python} is missing: run `make .venv-peers/.installed`")
        self._python = python
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread()
        self._folder = tempfile.TemporaryDirectory(prefix="peers-")
        self._start_timeout = start_timeout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the process; harmless when it does not run."""
        self._stop()
        self._folder.cleanup()

    def names(self, timeout: float = SECONDS_MAX) -> list[str]:
        """All strategies, as "skactiveml:badge" or "small-text:greedy_coreset". Raises PeerError as `ask` does."""
        return [str(name) for name in self._exchange({"names": True}, timeout)["names"]]

    def choose(self, strategy: str, **arguments: Any) -> list[int]:
        """Pool indices (count,) alone; arguments and errors as for `ask`."""
        return self.ask(strategy, **arguments).chosen

    def ask(
        self,
        strategy: str,
        *,
        embeddings: ArrayLike,  # (N, D)
        probabilities: ArrayLike,  # (N, C)
        inputs: ArrayLike,  # (N, F)
        labeled: ArrayLike,  # (n,)
        labels: ArrayLike,  # (n,)
        unlabeled: ArrayLike,  # (m,)
        count: int,
        seed: int,
        timeout: float = SECONDS_MAX,
    ) -> Choice:
        """A choice of `count` different items of `unlabeled` by a strategy, within `timeout` seconds.

        Items of the pool that are neither labeled nor unlabeled are not shown to the strategy. Raises PeerError
        when the strategy is unknown, arrays do not fit, the library fails or chooses no such items, or time is up.
        """
        path = Path(self._folder.name) / "arrays.npz"
        arrays = {"embeddings": embeddings, "probabilities": probabilities, "inputs": inputs}
        indices = {"labeled": labeled, "labels": labels, "unlabeled": unlabeled}
        np.savez(path, allow_pickle=False, **{name: np.asarray(array) for name, array in (arrays | indices).items()})
        request = {"arrays": str(path), "count": int(count), "seed": int(seed), "strategy": strategy}
        answer = self._exchange(request, timeout)
        return Choice(answer["chosen"], answer["seconds"], answer["warnings"])

    def _start(self) -> subprocess.Popen[str]:
        self._answers = queue.Queue()
        with self._log_path.open("w") as log:
            process = subprocess.Popen(  # noqa: S603 - the interpreter is the caller's choice
                [self._python, "-m", "benchmarks.peers.process"],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self._reader = threading.Thread(target=_pass_on, args=(_pipe(process.stdout), self._answers), daemon=True)
        self._reader.start()
        return process

    @property
    def _log_path(self) -> Path:
        return Path(self._folder.name) / "log"

    def _exchange(self, request: dict[str, Any], timeout: float) -> dict[str, Any]:
        what = request.get("strategy", "names")
        try:
            line = self._line(json.dumps(request), timeout)
        except queue.Empty:
            self._stop()
            raise PeerError(f"{what}: no answer within {timeout:g} s") from None
        except BaseException:
            self._stop()  # its answer, coming late, would be taken for that to the next question
            raise
        if not line:
            self._stop()
            raise PeerError(f"{what}: the process ended: {self._log_path.read_text()[-TAIL_CHARACTERS:].strip()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(f"{what}: {answer['error']}")
        return answer

    def _line(self, question: str, timeout: float) -> str:
        """The next answer, or nothing when the process has ended. Raises queue.Empty when time is up."""
        if self._process is None:
            self._process = self._start()
            timeout += self._start_timeout
        try:
            _pipe(self._process.stdin).write(question + "\n")
            _pipe(self._process.stdin).flush()
        except BrokenPipeError:
            return ""
        return self._answers.get(timeout=timeout)

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._reader.join()
        with contextlib.suppress(BrokenPipeError):
            _pipe(self._process.stdin).close()
        _pipe(self._process.stdout).close()
        self._process = None


def _pipe(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise PeerError("the process of the peers was started without pipes")
    return pipe


def _pass_on(lines: IO[str], answers: "queue.Queue[str]") -> None:
    """Hand over lines as they come, so that waiting for one can end in time; an empty one when there are no more."""
    for line in lines:
        answers.put(line)
    answers.put("")

"""Weights on their way into a module: precisions, normalisations, state dicts of torch.save and what is none."""

import contextlib
import io
import os
import subprocess
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from store.tables import Checkpoint
from tests.api import Api, torch_save
from tests.worker.conftest import run_queued
from tests.worker.test_networks import fake_timm
from worker import conversion, unpickle
from worker.checkpoints import load, open_network
from worker.context import Context
from worker.errors import CheckpointError
from worker.networks import build

MLP = {"in_features": 6, "hidden": [16, 8], "classes": 3}
SMALL = {"in_channels": 3, "depth": 10, "widen": 1, "classes": 3}

State = dict[str, torch.Tensor]


def state(name: str = "mlp", options: dict[str, Any] = MLP, seed: int = 0) -> State:
    torch.manual_seed(seed)
    module = build(name, options).train()
    if name == "wideresnet":
        # Statistics that are not those of an untouched network.
        for _ in range(3):
            module(torch.randn(16, 3, 8, 8) * 2 + 1)
    return module.state_dict()


def saved(tensors: State, folder: Path) -> Path:
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / "w")
    return folder / "w"


def pickled(content: Any, folder: Path, **more: Any) -> Path:
    torch.save(content, folder / "w.pt", **more)
    return folder / "w.pt"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader in this process, without its bounds: what it takes and what it refuses is the same, and torch is
    not loaded anew for each file. Others below run it as it is."""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        source, target, size, seconds = command[3:]
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            try:
                unpickle.main(Path(source), Path(target), int(size), int(seconds))
            except SystemExit as ended:
                return subprocess.CompletedProcess(command, int(str(ended.code)), said.getvalue().encode())
        return subprocess.CompletedProcess(command, 0, b"")

    monkeypatch.setattr(unpickle, "_limit", lambda *_: None)
    monkeypatch.setattr(subprocess, "run", run)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize(("name", "options"), [("mlp", MLP), ("wideresnet", SMALL)])
def test_every_precision_loads(name: str, options: dict[str, Any], dtype: torch.dtype, tmp_path: Path) -> None:
    tensors = {k: t.to(dtype) if t.is_floating_point() else t for k, t in state(name, options).items()}
    module = load(name, options, saved(tensors, tmp_path))
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    for key, tensor in module.state_dict().items():
        assert tensor.dtype == (wanted if tensors[key].is_floating_point() else torch.int64)
        assert torch.equal(tensor, tensors[key].to(tensor.dtype))


@pytest.mark.parametrize("counters", ["kept", "left out", "as numbers"])
def test_normalisation_is_by_the_stored_statistics(counters: str, tmp_path: Path) -> None:
    tensors = state("wideresnet", SMALL)
    reference = build("wideresnet", SMALL)
    reference.load_state_dict(tensors)
    if counters == "left out":
        tensors = {key: tensor for key, tensor in tensors.items() if tensor.is_floating_point()}
    elif counters == "as numbers":
        tensors = {key: tensor.float() for key, tensor in tensors.items()}
    module = load("wideresnet", SMALL, saved(tensors, tmp_path))
    x = torch.randn(5, 3, 8, 8)
    assert not module.training
    assert torch.equal(module(x), reference.eval()(x))
    assert torch.allclose(module(x)[:1], module(x[:1]), atol=1e-5)
    assert not torch.allclose(module(x), reference.train()(x), atol=1e-2)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"1.bias": torch.zeros(17)}, r"'1.bias' has shape \[17\], and \[16\]"),
        ({"1.bias": torch.full((16,), torch.nan)}, "'1.bias' has NaN"),
        ({"1.bias": torch.zeros(16, dtype=torch.int64)}, "'1.bias' is int64"),
        ({"1.bias": torch.zeros(16, dtype=torch.complex64)}, "'1.bias' is complex64"),
        ({"9.bias": torch.zeros(16)}, "'9.bias' is not part"),
    ],
)
@pytest.mark.parametrize("write", [saved, pickled])
def test_weights_that_do_not_fit(change: State, words: str, write: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=words):
        load("mlp", MLP, write(state() | change, tmp_path))


def test_a_package_decides_its_layout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_timm(monkeypatch)
    options = {"classes": 5, "in_channels": 2}
    tensors = build("timm:theirs.a1", options).state_dict()
    module = load("timm:theirs.a1", options, saved(tensors, tmp_path))
    assert torch.equal(module.get_buffer("table"), torch.arange(2))
    with pytest.raises(CheckpointError, match=r"'fc.bias' of shape \[5\] is missing"):
        load("timm:theirs.a1", options, saved({k: t for k, t in tensors.items() if k != "fc.bias"}, tmp_path))
    with pytest.raises(CheckpointError, match="'table' is float32, and int64 is needed"):
        load("timm:theirs.a1", options, saved({k: t.float() for k, t in tensors.items()}, tmp_path))


# State dicts of torch.save


def wrapped(tensors: State) -> dict[str, Any]:
    return {"state_dict": {f"module.{key}": tensor for key, tensor in tensors.items()}, "epoch": 3}


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "content",
    [
        lambda tensors: tensors,
        lambda tensors: dict(tensors),
        lambda tensors: {f"module.{key}": tensor for key, tensor in tensors.items()},
        wrapped,
        lambda tensors: {key: nn.Parameter(tensor) for key, tensor in tensors.items()},
        lambda tensors: OrderedDict((key, tensor.flip(0).contiguous().flip(0)) for key, tensor in tensors.items()),
        lambda tensors: {key: tensor.double() for key, tensor in tensors.items()},
    ],
)
def test_state_dicts_of_torch_save(content: Any, tmp_path: Path) -> None:
    tensors = state()
    module = load("mlp", MLP, pickled(content(tensors), tmp_path))
    for key, tensor in module.state_dict().items():
        assert torch.equal(tensor, tensors[key].to(tensor.dtype))


@pytest.mark.usefixtures("here")
def test_tied_tensors_become_two(tmp_path: Path) -> None:
    shared = torch.randn(4, 4)
    with conversion.converted(pickled({"a": shared, "b": shared[:2], "c": shared.T}, tmp_path)) as path:
        found = load_file(path)
    assert not path.exists()
    assert torch.equal(found["a"], shared)
    assert torch.equal(found["b"], shared[:2])
    assert torch.equal(found["c"], shared.T)


class Trap:
    """Touches a file when unpickled by a reader that trusts it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (nn.Linear(2, 2), "a pickled torch.nn.modules.linear.Linear"),
        ([torch.zeros(2)], "it holds a list"),
        ({}, "empty"),
        ({"state_dict": {}, "epoch": 3}, "empty"),
        ({"a": torch.zeros(2), "epoch": 3}, "'epoch' is a int"),
        ({3: torch.zeros(2)}, "one of its keys is a int"),
        ({"a": torch.zeros(2, 2).to_sparse()}, "'a' is not a plain tensor"),
        ({"a": torch.zeros(2, device="meta")}, "'a' is not a plain tensor"),
        ({"a": torch.zeros(1).expand(10**6, 10**6)}, "more than the file's size explains"),
    ],
)
def test_what_is_no_state_dict(content: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=words) as raised:
        load("mlp", MLP, pickled(content, tmp_path))
    assert "torch.save(model.state_dict(), path)" in str(raised.value)
    assert "save_file" in str(raised.value)


def test_nothing_in_the_file_runs(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"it holds a pickled posix\.system"):
        load("mlp", MLP, pickled({**state(), "1.bias": Trap(tmp_path / "touched")}, tmp_path))
    assert not (tmp_path / "touched").exists()


def test_a_damaged_file(tmp_path: Path) -> None:
    path = pickled(state(), tmp_path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="damaged"):
        load("mlp", MLP, path)


def replaced(monkeypatch: pytest.MonkeyPatch, folder: Path, program: str) -> None:
    """Another program in place of the one that reads the file."""
    (folder / "program.py").write_text(program)
    monkeypatch.setattr(unpickle, "__file__", str(folder / "program.py"))


def test_the_reader_sees_neither_secrets_nor_our_modules(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    replaced(
        monkeypatch,
        tmp_path,
        "import json, os, sys\n"
        "print(json.dumps({'error': repr((sorted(os.environ), sys.flags.isolated))}))\n"
        "sys.exit(1)",
    )
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    with pytest.raises(CheckpointError) as raised:
        load("mlp", MLP, pickled(state(), tmp_path))
    assert "DATABASE_URL" not in str(raised.value)
    assert "'HOME'" in str(raised.value)
    assert ", 1)" in str(raised.value)


@pytest.mark.parametrize(
    "program",
    ["import os; os.kill(os.getpid(), 9)", "print('{')", "import sys; sys.exit(3)", "print(3)", "print('{}')"],
)
def test_a_reader_that_dies_without_a_word(program: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    replaced(monkeypatch, tmp_path, program)
    with pytest.raises(CheckpointError, match="memory or time"):
        load("mlp", MLP, pickled(state(), tmp_path))


def test_a_reader_that_never_ends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    replaced(monkeypatch, tmp_path, "import time; time.sleep(60)")
    monkeypatch.setattr(conversion, "_START_SECONDS", 0.2)
    with pytest.raises(CheckpointError, match="longer than"):
        load("mlp", MLP, pickled(state(), tmp_path))


@pytest.mark.parametrize(
    ("greedy", "words"),
    [("bytearray(3 << 30)", "more memory"), ("torch.zeros(3 << 28)", "more memory"), ("spin()", "memory or time")],
)
def test_the_limits_hold(greedy: str, words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Limits are set after torch is loaded and before the file is read: this reads too much in its place."""
    program = (
        "import sys, torch\nsys.path.insert(0, {folder!r})\nimport unpickle\nfrom pathlib import Path\n"
        "def spin():\n    while True: pass\n"
        "unpickle._loaded = lambda source: {greedy}\n"
        "unpickle.main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), 3)\n"
    )
    folder = str(Path(unpickle.__file__).parent)
    replaced(monkeypatch, tmp_path, program.format(folder=folder, greedy=greedy))
    with pytest.raises(CheckpointError, match=words):
        load("mlp", MLP, pickled(state(), tmp_path))


# In a job


def uploaded(api: Api, content: Any) -> str:
    api.project()
    api.pool(items=20)
    answer = api.checkpoint(torch_save(content), options={"hidden": [16, 8]})
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    return job_id


def checkpoint_of(worker: Context) -> Checkpoint:
    with worker.sessions.begin() as session:
        return session.scalars(sa.select(Checkpoint)).one()


def test_the_conversion_is_kept(api: Api, worker: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = state()
    uploaded(api, wrapped(tensors))
    before = checkpoint_of(worker)
    module = open_network(worker, before)
    assert torch.equal(module.state_dict()["1.weight"], tensors["1.weight"])
    after = checkpoint_of(worker)
    assert after.name == before.name
    assert load_file(worker.artifacts.path(after.weights)).keys() == tensors.keys()
    # Neither what was read before nor the same upload again leads to another conversion.
    monkeypatch.setattr(conversion, "converted", None)
    for checkpoint in (before, after):
        again = open_network(worker, checkpoint)
        assert torch.equal(again.state_dict()["1.weight"], tensors["1.weight"])
    assert api.checkpoint(torch_save(wrapped(tensors)), options={"hidden": [16, 8]}).status_code == 202
    assert checkpoint_of(worker).weights == after.weights


def test_what_is_refused_fails_the_job_with_the_reason(api: Api, worker: Context) -> None:
    job_id = uploaded(api, state() | {"5.bias": torch.zeros(4)})
    run_queued(worker)
    job = api.get(f"/jobs/{job_id}").json()
    assert (job["status"], job["error"]["code"]) == ("failed", "invalid_checkpoint")
    assert "'5.bias' has shape [4], and [3] is needed" in job["error"]["detail"]

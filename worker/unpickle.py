"""One .pt state dict to one safetensors file. Run as a program of its own: see `worker.conversion`.

Imports nothing of ours, so that it can run isolated; loads torch only when it runs.
"""

import json
import re
import resource
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

RECIPE = (
    "Save with torch.save(model.state_dict(), path), or better with "
    "safetensors.torch.save_file(model.state_dict(), path)"
)
_SLACK = 1 << 30
_KEY_MAX = 1000
_PREFIX = "module."


class RefusedError(Exception):
    """What is in the file is not a state dict; the message says what it is."""


def main(source: Path, target: Path, size: int, seconds: int) -> None:
    """Convert, or print the reason as JSON and exit with status 1."""
    import torch
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    _limit(size, seconds)
    try:
        save_file(_tensors(_loaded(source), 2 * size + (1 << 20)), target)
    except RefusedError as refused:
        _say(str(refused))
    except Exception as error:
        # The bytes may be anything, and so may what the readers make of them: all of it is a reason to refuse.
        _say(_in_words(error))


def _in_words(error: Exception) -> str:
    # torch reports memory that it is not given as a RuntimeError.
    if isinstance(error, MemoryError) or "allocate memory" in str(error):
        return "it takes more memory than its size explains"
    first, *_ = str(error).splitlines() or [type(error).__name__]
    return f"it cannot be read ({first})"


def _say(reason: str) -> None:
    sys.stdout.write(json.dumps({"error": reason}))
    sys.stdout.flush()
    sys.exit(1)


def _limit(size: int, seconds: int) -> None:
    """Bound this process from here on: torch, which is loaded already, takes more than the rest."""
    memory = Path("/proc/self/statm")
    if memory.exists():
        used = int(memory.read_text().split()[0]) * resource.getpagesize()
        _at_most(resource.RLIMIT_AS, used + 4 * size + _SLACK)
    _at_most(resource.RLIMIT_CPU, seconds)
    _at_most(resource.RLIMIT_FSIZE, 2 * size + (16 << 20))
    _at_most(resource.RLIMIT_CORE, 0)


def _at_most(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))


def _loaded(source: Path) -> Any:
    import pickle

    import torch

    try:
        return torch.load(source, map_location="cpu", weights_only=True, mmap=False)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"a pickled {named[1]}" if named else "something other than tensors"
        raise RefusedError(f"it holds {what}, and only a mapping of names to tensors is taken") from error


def _tensors(loaded: Any, most: int) -> "dict[str, torch.Tensor]":
    """The state dict, found and copied: tensors that share their numbers get numbers of their own."""
    import torch

    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping):
        raise RefusedError(f"it holds a {type(loaded).__name__}, and only a mapping of names to tensors is taken")
    if not loaded:
        raise RefusedError("its mapping is empty")
    for key, value in loaded.items():
        _check(key, value)
    if (bytes_ := sum(value.numel() * value.element_size() for value in loaded.values())) > most:
        raise RefusedError(f"its tensors would take {bytes_} bytes, more than the file's size explains")
    prefix = len(_PREFIX) if all(key.startswith(_PREFIX) for key in loaded) else 0
    return {key[prefix:]: value.detach().clone(memory_format=torch.contiguous_format) for key, value in loaded.items()}


def _check(key: Any, value: Any) -> None:
    import torch

    if not isinstance(key, str):
        raise RefusedError(f"one of its keys is a {type(key).__name__}, not a name")
    name = key[:_KEY_MAX]
    if not isinstance(value, torch.Tensor):
        raise RefusedError(f"{name!r} is a {type(value).__name__}, and only tensors are taken")
    plain = type(value) in {torch.Tensor, torch.nn.Parameter} and not value.is_quantized
    if not plain or value.layout != torch.strided or value.device.type != "cpu":
        raise RefusedError(f"{name!r} is not a plain tensor with its numbers in the file")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))

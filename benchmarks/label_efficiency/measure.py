"""The runs of one setting and seed, in a process of their own."""

from pathlib import Path

import torch

from benchmarks.curves import append, done
from benchmarks.label_efficiency.arena import Arena
from benchmarks.label_efficiency.settings import SETTINGS, entries
from benchmarks.peers.client import PeerError, Peers
from ntk.memory import keep_freed_memory


def measure(number: int, seed: int, path: Path, failures: Path) -> str:
    """All runs of one setting and seed that are not in the file yet; what fails is noted and not tried again."""
    torch.set_num_threads(1)
    keep_freed_memory()
    setting = SETTINGS[number]
    known = done(path)
    failed = failures.read_text().splitlines() if failures.exists() else []
    left = [
        entry
        for entry in entries(setting)
        if (setting.dataset, setting.model, seed, entry.name) not in known
        and f"{setting.name}; {entry.name}" not in [line.partition(":: ")[0] for line in failed]
    ]
    if not left:
        return f"{setting.name}, seed {seed}: nothing left"
    arena = Arena(setting, seed)
    with Peers() as peers:
        for entry in left:
            try:
                append(path, arena.run(entry, peers))
            except PeerError as error:
                with failures.open("a") as file:
                    file.write(f"{setting.name}; {entry.name}:: {' '.join(str(error).split())[:300]}\n")
    return f"{setting.name}, seed {seed}: {len(left)} runs"

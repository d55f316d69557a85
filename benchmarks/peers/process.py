"""A process that chooses with the strategies of other libraries: `python -m benchmarks.peers.process`.

It runs in the peers' environment and answers each JSON line on stdin with one on stdout:

    {"names": true}                                            {"names": ["skactiveml:badge", ...]}
    {"arrays": "x.npz", "count": 10, "seed": 0,
     "strategy": "skactiveml:badge"}                           {"chosen": [...], "seconds": s, "warnings": [...]}

or with {"error": "..."}. Seconds are of the choice alone, without reading the arrays.
"""

import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.peers.problem import Problem, load

LIBRARIES = {"skactiveml": "benchmarks.peers.from_skactiveml", "small-text": "benchmarks.peers.from_small_text"}


def strategies() -> dict[str, Callable[[Problem], Any]]:
    """Strategies by name, of the libraries that are installed here."""
    found: dict[str, Callable[[Problem], Any]] = {}
    for library, module in LIBRARIES.items():
        try:
            table = importlib.import_module(module).STRATEGIES
        except ModuleNotFoundError:
            continue
        found |= {f"{library}:{name}": strategy for name, strategy in table.items()}
    return found


def answer(request: Any, known: dict[str, Callable[[Problem], Any]]) -> dict[str, Any]:
    """The answer to one request; raises what the strategy raises, ValueError for a request that makes no sense."""
    if not isinstance(request, dict):
        raise ValueError("a request is a JSON object")
    if "names" in request:
        return {"names": sorted(known)}
    wanted = {"arrays": str, "count": int, "seed": int, "strategy": str}
    for name, kind in wanted.items():
        if not isinstance(request.get(name), kind):
            raise ValueError(f"a request has {name!r}, of type {kind.__name__}")
    if request["strategy"] not in known:
        raise ValueError(f"no strategy {request['strategy']!r}; there are {', '.join(sorted(known)) or 'none'}")
    problem = load(Path(request["arrays"]), request["count"], request["seed"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        start = time.perf_counter()
        rows = known[request["strategy"]](problem)
        seconds = time.perf_counter() - start
    said = sorted({str(each.message) for each in caught})
    return {"chosen": problem.items(rows), "seconds": seconds, "warnings": said}


def main() -> int:
    """Answer until stdin ends."""
    # Libraries print; what they print must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    known = strategies()
    for line in sys.stdin:
        try:
            found = answer(json.loads(line), known)
        except Exception as error:  # whatever a library raises is an answer too
            found = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(found) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

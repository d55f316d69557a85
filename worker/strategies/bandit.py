"""albl: a bandit over coreset and least confidence that learns from the labels that come back.

Its memory is JSON that the caller keeps with the project: the arms' weights, what was proposed and waits for a label
(the newest last; a list, because whoever keeps JSON may sort the names in an object), and what came back.
"""

import torch

from ntk.acquisition import bandit, uncertainty
from ntk.acquisition.diversity import FarthestFirst
from store.tables import Json
from worker.strategies.request import Picks, Request
from worker.strategies.window import Window

Tensor = torch.Tensor
ARMS = ("coreset", "least_confidence")
# Proposals that are remembered at most; the oldest are forgotten, so that peeking for ever costs no more.
_WAITING_MAX = 1000
_HISTORY_MAX = 10_000


def albl(window: Window, request: Request) -> Picks:
    """Follow one arm per pick, drawn by their weights, after rewarding the arms for the labels that arrived."""
    options = request.options
    floor = options["exploration"] if options["exploration"] is not None else 1 / (10 * len(ARMS))
    memory = _rewarded(window, request.memory or _fresh(), floor, options)
    probabilities = bandit.chances(memory["weights"], floor)
    generator = request.generator()
    features = window.features("penultimate", request.check)
    farthest = FarthestFirst(features[window.candidates], features[window.posterior.labeled])
    outputs = window.posterior.candidate_outputs / window.temperature(options["probabilities"])
    unsure = uncertainty.least_confidence(outputs)
    chosen: list[int] = []
    scores: list[float] = []
    proposed: dict[int, Json] = {}
    while len(chosen) < request.count and request.allowed.any():
        arms = zip(ARMS, (farthest.scores(), unsure), strict=True)
        proposals = {arm: request.allowed.best(values) for arm, values in arms}
        mixture = bandit.advice(probabilities, proposals)
        drawn = float(torch.rand((), dtype=torch.float64, generator=generator))
        arm = ARMS[0] if drawn < probabilities[ARMS[0]] else ARMS[1]
        pick = proposals[arm]
        chosen.append(pick)
        scores.append(mixture[pick])
        proposed[int(window.keys[pick])] = {
            "item": int(window.keys[pick]),
            "chance": mixture[pick],
            "arms": {name: mixture[item] for name, item in proposals.items()},
            "proposers": [name for name, item in proposals.items() if item == pick],
        }
        request.allowed.take(pick)
        farthest.add(pick)
        request.on_pick()
    earlier = [proposal for proposal in memory["waiting"] if proposal["item"] not in proposed]
    memory["waiting"] = [*earlier, *proposed.values()][-_WAITING_MAX:]
    figures = {"weights": memory["weights"], "probabilities": probabilities, "labels_learned_from": memory["learned"]}
    device = window.candidates.device
    return Picks(
        torch.tensor(chosen, dtype=torch.long, device=device),
        torch.tensor(scores, dtype=torch.float64, device=device),
        None,
        figures,
        memory,
    )


def _fresh() -> Json:
    return {"weights": dict.fromkeys(ARMS, 1.0), "waiting": [], "history": [], "learned": 0}


def _rewarded(window: Window, memory: Json, floor: float, options: Json) -> Json:
    """The memory after the labels that arrived, in the order of their arrival."""
    posterior = window.posterior
    keys = [int(key) for key in window.order[posterior.labeled].tolist()]
    at = {key: k for k, key in enumerate(keys)}
    arrived = sorted((p for p in memory["waiting"] if p["item"] in at), key=lambda p: at[p["item"]])
    if not arrived:
        return dict(memory)
    # Judged by the model without the label itself: with it every label would seem right.
    hits = (posterior.leave_one_out().argmax(dim=1) == posterior.labels).tolist()
    weights, history, learned = memory["weights"], list(memory["history"]), int(memory["learned"])
    for proposal in arrived:
        history.append([proposal["item"], proposal["chance"]])
        known = [(at[item], chance) for item, chance in history if item in at]
        gained = bandit.reward([hits[k] for k, _ in known], [chance for _, chance in known])
        outcome = bandit.Outcome(proposal["chance"], proposal["arms"], proposal["proposers"])
        weights = bandit.updated(
            weights, outcome, gained, floor=floor, delta=options["delta"], horizon=options["horizon"]
        )
        learned += 1
    waiting = [p for p in memory["waiting"] if p["item"] not in at]
    return {"weights": dict(weights), "waiting": waiting, "history": history[-_HISTORY_MAX:], "learned": learned}

"""Strategies that cover the pool: coreset, badge, typiclust."""

import torch

from ntk.acquisition import diversity
from ntk.acquisition.dynamics import loss_weights
from worker.strategies.request import Picks, Request
from worker.strategies.window import Window


def coreset(window: Window, request: Request) -> Picks:
    """Greedy k-centre on features."""
    features = window.features(request.options["features"], request.check)
    centres = features[window.posterior.labeled]
    return Picks(
        *diversity.coreset(features[window.candidates], centres, request.allowed, request.count, request.on_pick)
    )


def badge(window: Window, request: Request) -> Picks:
    """k-means++ on hypothesised last-layer gradients."""
    outputs = window.posterior.candidate_outputs / window.temperature(request.options["probabilities"])
    residuals = loss_weights(outputs, outputs.argmax(dim=1))
    features = window.features("penultimate", request.check)
    embedding = diversity.GradientEmbedding(residuals, features[window.candidates])
    return Picks(
        *diversity.badge(
            embedding,
            request.allowed,
            request.count,
            request.generator(),
            int(request.options["partitions"]),
            request.on_pick,
        )
    )


def typiclust(window: Window, request: Request) -> Picks:
    """The most typical items of clusters that have fewest labels."""
    posterior = window.posterior
    features = window.features(request.options["features"], request.check)
    held = torch.zeros(len(features), dtype=torch.bool, device=features.device)
    held[posterior.labeled] = True
    members, place = window.by_key()
    chosen, scores = diversity.typiclust(
        features[members],
        held[members],
        place[posterior.candidates],
        request.allowed,
        request.count,
        request.seed,
        request.on_pick,
    )
    return Picks(chosen, scores)

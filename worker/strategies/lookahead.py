"""Look-ahead strategies: over the live posterior, or over one of another kernel."""

import torch

from ntk.acquisition.lookahead.change import Change, emoc, mlmoc
from ntk.acquisition.lookahead.error import eer
from ntk.acquisition.lookahead.greedy import Score, greedy
from ntk.acquisition.lookahead.model import LookAhead
from ntk.acquisition.lookahead.one_step import one_step
from ntk.acquisition.uncertainty import nearest_probabilities, probabilities
from ntk.distances import squared_distances
from ntk.infinite import relu_ntk
from ntk.posterior import Posterior
from store.tables import Json
from worker.strategies.request import Picks, Request, best
from worker.strategies.window import Window

Tensor = torch.Tensor
# Hidden layers of the infinitely wide network where the checkpoint's architecture does not say.
_DEPTH = 2


def look_ahead(window: Window, request: Request, family: str) -> Picks:
    """mlmoc, emoc and eer over the live posterior, by the request's options."""
    posterior = window.posterior
    reference = None
    if request.options["reference"] == "network":
        reference = window.network_outputs[posterior.candidates]
    # Doubt in the label to come, beside the ridge that is in the variance already.
    doubt = request.options["noise"] * float(posterior.gram.diagonal().double().mean())
    return _picked(posterior, _score(window, family, request.options), request, reference, doubt)


def _score(window: Window, family: str, options: Json) -> Score:
    change: Change = options.get("change", "norm")
    if family == "mlmoc":
        return lambda look: mlmoc(look, change)
    temperature = window.temperature(options["probabilities"])

    def of_outputs(outputs: Tensor) -> Tensor:
        if options["probabilities"] == "simplex":
            return nearest_probabilities(outputs)
        return probabilities(outputs / temperature)

    if family == "emoc":
        return lambda look: emoc(look, of_outputs(look.base), change)
    return lambda look: eer(look, of_outputs(look.base), temperature)


def _picked(
    posterior: Posterior, score: Score, request: Request, reference: Tensor | None = None, doubt: float = 0.0
) -> Picks:
    look = LookAhead.of(
        posterior.covariance,
        posterior.variance + doubt,
        posterior.candidate_outputs,
        reference,
        posterior.column_l1,
        request.check,
    )
    if request.options["batch"] == "greedy" and request.count > 1:
        first: list[Tensor] = []

        def noted(model: LookAhead) -> Tensor:
            scores = score(model)
            first.extend([] if first else [scores])
            return scores

        indices, scores = greedy(look, noted, request.allowed, request.count, request.on_pick)
        return Picks(indices, scores, all_scores=first[0] if first else None)
    return best(score(look), request)


def one_gradient_step(window: Window, request: Request) -> Picks:
    """One gradient step on each candidate instead of training to the end [LA fig. 1b]."""
    outputs = window.candidate_outputs(request.options["reference"])
    return best(one_step(window.posterior.gram, window.candidates, outputs), request)


def infinite_ntk(window: Window, request: Request) -> Picks:
    """MLMOC with the kernel of an infinitely wide ReLU perceptron on the flattened inputs [LA fig. 1b]."""
    features = window.features("inputs", request.check)
    depth = int(request.options["depth"] or _DEPTH)
    gram = relu_ntk(features, features, depth, bias_variance=0.1, on_tile=request.check)
    return _another_kernel(window, gram, request)


def gaussian_process(window: Window, request: Request) -> Picks:
    """MLMOC with a Gaussian process: squared-exponential kernel on features [LA fig. 1b]."""
    features = window.features(request.options["features"], request.check)
    squared = squared_distances(features, features)
    scale = request.options["length_scale"]
    if scale is None:
        scale = _median(squared)
    return _another_kernel(window, torch.exp(squared.div_(-2 * scale * scale)), request)


def _median(squared: Tensor) -> float:
    """The median of the distances that are not nought, the usual scale when nothing else is known; 1 without any."""
    positive = squared.masked_select(squared > 0)
    return float(positive.median().sqrt()) if len(positive) else 1.0


def _another_kernel(window: Window, gram: Tensor, request: Request) -> Picks:
    """The same look-ahead over another kernel's own regression, from outputs of zero.

    The regression's outputs are its own, so the change is measured from them: there is no network to refer to.
    """
    live = window.posterior
    posterior = Posterior(
        gram,
        torch.full_like(window.network_outputs, 1 / live.classes),
        live.ridge * float(gram.diagonal().mean() / live.gram.diagonal().double().mean()),
        labeled=live.labeled,
        labels=live.labels,
        candidates=live.candidates,
    )
    change: Change = request.options["change"]
    return _picked(posterior, lambda model: mlmoc(model, change), request)

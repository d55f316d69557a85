"""Strategies that ask the network itself: bald, egl, ll4al, dynamical."""

from dataclasses import replace

import torch

from ntk import diagnostics
from ntk.acquisition import learned
from ntk.acquisition.dynamics import dynamical as most_dynamic
from ntk.acquisition.dynamics import loss_weights
from ntk.dropout import DropoutSamples
from ntk.gradients import Gradients
from worker.errors import JobError
from worker.strategies.request import Picks, Request, best
from worker.strategies.window import Window
from worker.training.loss_prediction import predicted_losses

Tensor = torch.Tensor
# Candidates between two places to stop.
_PART = 1024


def bald(window: Window, request: Request) -> Picks:
    """Disagreement of networks sampled by dropout, around the kernel model's outputs."""
    options = request.options
    samples = DropoutSamples(window.module, rate=options["dropout"], dtype=window.dtype, device=window.device)
    outputs = window.posterior.candidate_outputs
    temperature = window.temperature(options["probabilities"])
    changes = samples.changes(window.items(window.candidates), options["samples"], request.seed, request.check)
    note = None
    if not samples.own_layers:
        note = f"the network has no dropout layers: dropout of {options['dropout']:g} acts on its last layer's input"
    picks = best(learned.bald((outputs + change) / temperature for change in changes), request)
    return replace(picks, note=note)


def egl(window: Window, request: Request) -> Picks:
    """Expected length of the loss gradient."""
    outputs = window.posterior.candidate_outputs / window.temperature(request.options["probabilities"])
    if request.options["parameters"] == "last_layer":
        h = window.features("penultimate", request.check)[window.candidates]
        lengths = learned.last_layer_gradient_lengths(outputs, h, bias=window.last_layer_has_bias)
    else:
        gradients = Gradients(window.module, dtype=window.dtype, device=window.device)
        items = window.items(window.candidates)
        columns = []
        for y in range(outputs.shape[1]):
            every = torch.full((len(outputs),), y, dtype=torch.long, device=outputs.device)
            squares = gradients.squared_norms(items, loss_weights(outputs, every), request.check)
            columns.append(squares.sqrt())
        lengths = torch.stack(columns, dim=1)
    return best(learned.expected_length(outputs, lengths), request)


def ll4al(window: Window, request: Request) -> Picks:
    """The largest predicted loss."""
    predictor = window.open_loss_predictor(window.module)
    if predictor is None:
        raise JobError(
            "no_loss_predictor",
            "the checkpoint has no loss predictor: train one with POST /projects/{name}/train and "
            '"loss_prediction": true',
        )
    losses = []
    for part in window.candidates.split(_PART):
        losses.append(predicted_losses(window.module, predictor, window.items(part), window.device).double())
        request.check()
    return best(torch.cat(losses), request)


def dynamical(window: Window, request: Request) -> Picks:
    """The largest growth of the training dynamics, linear in the pool."""
    posterior, options = window.posterior, request.options
    gradients = Gradients(window.module, dtype=window.dtype, device=window.device)
    temperature = window.temperature(options["probabilities"])
    outputs = window.candidate_outputs(options["reference"]) / temperature
    of_labeled = window.outputs_of(posterior.labeled, options["reference"]) / temperature
    found = most_dynamic(
        gradients,
        window.items(window.candidates),
        loss_weights(outputs, outputs.argmax(dim=1)),
        window.items(posterior.labeled),
        loss_weights(of_labeled, posterior.labels),
        allowed=request.allowed,
        count=request.count,
        gamma=options["gamma"],
        greedy=options["batch"] == "greedy",
        on_batch=request.check,
        on_pick=request.on_pick,
    )
    gram = posterior.gram[posterior.labeled][:, posterior.labeled].double()
    figures = {
        "training_dynamics_before": found.before,
        "training_dynamics_after": found.after,
        "approximation_ratio": found.approximation_ratio,
        "alignment": diagnostics.alignment(gram, posterior.labels, posterior.classes) if posterior.n else None,
        "generalisation_bound_term": diagnostics.bound_term(posterior.factor, posterior.labels, posterior.classes)
        if posterior.n
        else None,
        "squared_discrepancy": diagnostics.squared_discrepancy(posterior.gram, posterior.labeled)
        if posterior.n > 1
        else None,
    }
    return Picks(found.indices, found.scores, None, figures)

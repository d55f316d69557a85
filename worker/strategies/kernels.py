"""Strategies that look at the kernel over labeled items and candidates: npc, ntkcpl."""

import torch

from ntk.acquisition import ntkcpl as cover
from ntk.acquisition.npc import npc as best_conditioned
from ntk.infinite import relu_ntk
from worker.strategies.request import Picks, Request
from worker.strategies.window import Window

Tensor = torch.Tensor


def npc(window: Window, request: Request) -> Picks:
    """The batch whose kernel with the labeled items has the largest smallest eigenvalue."""
    posterior, options = window.posterior, request.options
    labeled, candidates = posterior.labeled, posterior.candidates
    if options["kernel"] == "last_layer":
        h = window.features("penultimate", request.check)
        phi = torch.cat([h, torch.ones_like(h[:, :1])], dim=1) * posterior.classes**0.5
        of_labeled, of_candidates = phi[labeled], phi[candidates]
        grams = (of_labeled @ of_labeled.mT, of_labeled @ of_candidates.mT, of_candidates @ of_candidates.mT)
        ridge = posterior.ridge * float(phi.square().sum(dim=1).mean() / posterior.gram.diagonal().double().mean())
    else:
        # In the kernel's own type: what counts as rounding depends on it.
        gram = posterior.gram
        grams = (
            gram[labeled][:, labeled],
            gram[labeled][:, candidates],
            gram[candidates][:, candidates],
        )
        ridge = posterior.ridge
    found = best_conditioned(
        *grams,
        ridge=ridge,
        count=request.count,
        num_subsets=options["num_subsets"],
        search=options["search"],
        generator=request.generator(),
        allowed=request.allowed.mask,
        order=window.keys,
        rules=(lambda: request.allowed.fork().take) if request.allowed.ruled else None,
        on_tile=request.check,
    )
    for index in found.indices.tolist():
        request.allowed.take(index)
    note = None
    if found.fallback:
        note = (
            f"the kernel has numerical rank {found.rank}, too small to tell batches apart by the smallest eigenvalue: "
            "they were ranked by the log-determinant of the batch's posterior covariance instead"
        )
    figures = {
        "smallest_eigenvalue": None if found.fallback else found.value,
        "log_determinant": found.value if found.fallback else None,
        "smallest_eigenvalue_labeled": found.labeled_value,
        "rank": found.rank,
        "subsets": found.subsets,
    }
    scores = torch.full((len(found.indices),), found.value, dtype=torch.float64, device=found.indices.device)
    return Picks(found.indices, scores, note, figures)


def ntkcpl(window: Window, request: Request) -> Picks:
    """The batch that leaves the smallest estimated error against clusters."""
    posterior, options = window.posterior, request.options
    base = window.features("auto", request.check)
    clustered = base if options["features"] == "self" else window.features("penultimate", request.check)
    members, place = window.by_key()
    labeled, candidates = place[posterior.labeled], place[posterior.candidates]
    predicted = posterior.outputs_of(members).argmax(dim=1)
    clusters = cover.cluster_count(
        posterior.n, request.count, len(torch.unique(posterior.labels)), options["max_clusters"]
    )
    pseudo = cover.pseudo_labels(clustered[members], labeled, posterior.labels, predicted, clusters, request.seed)
    own = base[members]
    gram = relu_ntk(own, own, options["depth"], on_tile=request.check).to(posterior.gram.dtype)
    ridge = posterior.ridge * float(gram.diagonal().mean() / posterior.gram.diagonal().double().mean())
    found = cover.ntkcpl(
        gram,
        pseudo.assignment,
        labeled,
        candidates,
        ridge=ridge,
        allowed=request.allowed,
        count=request.count,
        on_tile=request.check,
        on_pick=request.on_pick,
    )
    figures = {
        "clusters": pseudo.clusters,
        "constraint_conflicts": pseudo.conflicts,
        "cluster_impurity": pseudo.impurity,
        "prediction_disagreement": cover.disagreement(
            pseudo.assignment,
            labeled,
            posterior.labels,
            found.outputs,
            window.network_outputs[members].argmax(dim=1),
        )
        if posterior.n
        else None,
    }
    return Picks(found.indices, found.scores, None, figures)

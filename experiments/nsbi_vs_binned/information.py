"""How much of the unbinned test is left in bins, by their number and their observable.

On the interference problem, for expected data at μ = 1 and three tested values: close
to it, at the second minimum, and close to zero.
"""

import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from diffana import infer
from diffana.nsbi.bins import equal_expectation_edges, least_loss_edges
from diffana.nsbi.optimal_observables import poi_score, profiled_score
from diffana.nsbi.parametrised import parametrised_scan, ratio_to
from experiments.nsbi_vs_binned import measures, problems


N_BINS = (2, 4, 8, 16, 32, 64)
TESTED = (0.05, 0.126, 0.8)


def kept(file: Path, n_points: int) -> dict:
    """Shares of t(μ), as they are in a file; made if there is none."""
    if not file.exists():
        problem = problems.interference(n_points)
        found = {
            kind: _shares(problem, fixed=kind == "known")
            for kind in ("known", "profiled")
        }
        file.write_text(json.dumps(found))
    return json.loads(file.read_text())


def _shares(problem, *, fixed: bool) -> dict:
    data, truth = measures.expected(problem, 1.0), problem.truth(1.0)
    held = dict.fromkeys(problem.nuisances, 0.0) if fixed else {}
    at = jnp.sqrt(jnp.array(TESTED))
    whole = infer.scan(problem.exact, data, {"sqrt_mu": at}, fixed=held)
    score = poi_score if fixed else profiled_score
    choices = {
        "score, fixed at 1": (lambda model, _: score(model, truth), least_loss_edges),
        "score, moving": (score, least_loss_edges),
        "ratio, equal bins": (
            ratio_to(truth, profiled=not fixed),
            equal_expectation_edges,
        ),
        "ratio": (ratio_to(truth, profiled=not fixed), least_loss_edges),
    }
    if not fixed:
        choices["ratio, not profiled"] = (ratio_to(truth), least_loss_edges)
    found = {"unbinned": np.asarray(whole.delta_twice_nll).tolist()}
    for name, (choice, binning) in choices.items():
        found[name] = []
        for n_bins in N_BINS:
            scan = parametrised_scan(
                problem.exact, data, at, choice, n_bins, binning=binning, fixed=held
            )
            share = scan.delta_twice_nll / whole.delta_twice_nll
            found[name].append(np.asarray(share).tolist())
        print(f"bins, fixed {fixed}, {name}", np.round(found[name][-1], 4), flush=True)
    return found

"""Sweep over losses and seeds of the measurement of the ttbar cross section.

python -m experiments.ttbar.run --out runs/ttbar
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from diffana import assemble, config as configuration
from diffana.workflow.comparison import Group
from diffana.workflow.sweep import sweep
from experiments.claims import Claim, Study, spread


SWEEP = Path(__file__).parents[2] / "configs" / "ttbar_sweep.yaml"
TRAINED = "sigma_mu"
RIVALS = {
    "bce": "a classifier",
    "bce_augmented": "a classifier that sees all variations of the background",
    "asimov_significance": "training on the significance without uncertainties",
}


def by_loss(groups: tuple[Group, ...]) -> dict[str, np.ndarray]:
    """Loss -> σ_μ on the test events for each seed."""
    return {group.runs[0].config.loss[0].type: group.test(TRAINED) for group in groups}


def claims(tested: dict[str, np.ndarray]) -> list[Claim]:
    """What the study states, decided by the numbers."""
    return [_beats(tested[TRAINED], tested[one], told) for one, told in RIVALS.items()]


def _beats(trained: np.ndarray, rival: np.ndarray, told: str) -> Claim:
    # A number that is not defined is worse than any other.
    n_better = int(np.sum(trained < np.where(np.isnan(rival), np.inf, rival)))
    ratio = np.nanmedian(trained / rival)
    return Claim(
        claim=f"training on σ_μ reaches a smaller σ_μ on test events than {told}",
        source="goal of this study",
        expected=f"smaller on each of {len(trained)} seeds",
        measured=f"{spread(trained)} against {spread(rival)}, smaller on {n_better} of "
        f"{len(trained)}, median ratio {ratio:.3f}",
        verdict="reproduced" if n_better == len(trained) else "not reproduced",
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--quick", action="store_true", help="2 seeds, 20 epochs")
    parser.add_argument("--workers", type=int, help="processes; all cores without it")
    options = parser.parse_args(argv)
    jax.config.update("jax_enable_x64", True)
    plan = configuration.load_sweep(SWEEP)
    for path in assemble.input_files(plan.base):
        if not path.is_file():
            parser.error(f"{path}: no such file; the README says how it is made")
    study = Study("ttbar", options.out, quick=options.quick)
    if options.quick:
        plan = configuration.planned(
            plan.config.model_copy(update={"seeds": (0, 1)}),
            configuration.changed(plan.base, {"Train.Epochs": 20}),
        )
    summary = sweep(
        plan,
        options.out / "sweep",
        n_workers=options.workers,
        console=Console(highlight=False),
    )
    if summary.failed or summary.comparison is None:
        raise SystemExit(f"runs without a result: {', '.join(summary.failed)}")
    groups = summary.comparison.groups
    # Summed over the trainings, of which earlier calls may have made some.
    seconds = sum(
        np.sum(run.seconds)
        for group in groups
        for run in group.runs
        if run.seconds is not None
    )
    study.record(
        claims(by_loss(groups)),
        seconds=float(seconds),
        seeds=len(plan.config.seed_values),
        epochs=plan.runs[0].config.train.epochs,
    )


if __name__ == "__main__":
    main()

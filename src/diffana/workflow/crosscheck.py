"""The same numbers from pyhf beside ours, with differences and times."""

import contextlib
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import jax.numpy as jnp
import numpy as np
import pyhf
from pyhf import exceptions
from pyhf.infer import hypotest as pyhf_hypotest, mle

from diffana.errors import SpecificationError
from diffana.published import Published
from diffana.workflow import published


if TYPE_CHECKING:
    from diffana.stored import Measurement


_Optimizer = Literal["scipy", "minuit"]
_T = TypeVar("_T")


def crosscheck(
    workspace: "Published | Measurement",
    *,
    poi_test: float = 1.0,
    bounded: bool = True,
    optimizer: _Optimizer = "scipy",
) -> dict[str, Any]:
    """Fit and CLs from here and from pyhf, which runs on NumPy.

    Both build their model from the specification, patches applied. What pyhf cannot
    compute is None, with the reason under `failures`.

    Args:
        workspace: the workspace; without a parameter of interest there is no CLs.
        poi_test: tested value of the parameter of interest.
        bounded: whether to use q~_mu rather than q_mu.
        optimizer: the minimiser of pyhf.

    Returns:
        Under `diffana` and `pyhf` the results; under `difference` ours minus pyhf's,
        for the best fit in units of our uncertainty; under `same_point` the relative
        difference of the expected rates and of twice_nll at pyhf's best fit, which is
        rounding unless the models differ; under `seconds` the times, ours with
        compilation (`first`) and without (`again`).

    Raises:
        SpecificationError: as for `cls`.
        FitError: if one of our fits is not certified.
    """
    if not isinstance(workspace, Published):
        raise SpecificationError(
            f"{workspace.origin}: pyhf has no unbinned likelihoods to compare with"
        )
    has_poi = workspace.model.parameters.poi is not None
    steps: dict[str, Callable[[], dict[str, Any]]] = {
        "fit": lambda: published.fit(workspace)
    }
    if has_poi:
        steps["cls"] = lambda: published.cls(
            workspace, poi_test=poi_test, bounded=bounded
        )
    ours, seconds = {}, {}
    for name, step in steps.items():
        result, first = _timed(step)
        _, again = _timed(step)
        ours |= result
        seconds[name] = {"first": first, "again": again}
    theirs, failures = {}, {}
    oracle = _Oracle(workspace, optimizer)
    their_steps: dict[str, Callable[[], dict[str, Any]]] = {"fit": oracle.fit}
    if has_poi:
        their_steps["cls"] = lambda: oracle.cls(poi_test, bounded=bounded)
    for name, step in their_steps.items():
        try:
            result, seconds[name]["pyhf"] = _timed(step)
            theirs |= result
        except (exceptions.FailedMinimization, ValueError, AttributeError) as error:
            # pyhf's Minuit wrapper fails with an AttributeError at an invalid minimum.
            failures[name] = " ".join(str(error).split())
    keys = ("best_twice_nll", "bestfit", "CLs_obs", "CLs_exp")
    return {
        "poi_test": poi_test if has_poi else None,
        "diffana": {key: ours[key] for key in keys if key in ours},
        "pyhf": {key: theirs.get(key) for key in keys if key in ours},
        "difference": _differences(ours, theirs),
        "same_point": oracle.same_point(theirs.get("bestfit")),
        "failures": failures,
        "seconds": seconds,
    }


class _Oracle:
    """pyhf's model of the same workspace."""

    def __init__(self, workspace: Published, optimizer: _Optimizer):
        parsed = pyhf.Workspace(dict(workspace.specification))
        self.workspace = workspace
        self.optimizer: _Optimizer = optimizer
        self.model = parsed.model(measurement_name=workspace.measurement)
        self.data = parsed.data(self.model)

    def fit(self) -> dict[str, Any]:
        with _minimiser(self.optimizer):
            fitted, value = mle.fit(self.data, self.model, return_fitted_val=True)
        return {
            "best_twice_nll": float(value),
            "bestfit": published.by_name(tuple(self.model.config.par_names), fitted),
        }

    def cls(self, poi_test: float, *, bounded: bool) -> dict[str, Any]:
        with _minimiser(self.optimizer), warnings.catch_warnings():
            # 0/0 for a signal excluded beyond the range of the numbers.
            warnings.simplefilter("ignore", RuntimeWarning)
            observed, expected = pyhf_hypotest(
                poi_test,
                self.data,
                self.model,
                test_stat="qtilde" if bounded else "q",
                return_expected_set=True,
            )
        return {
            "CLs_obs": float(observed),
            "CLs_exp": [float(value) for value in expected],
        }

    def same_point(self, bestfit: dict[str, float] | None) -> dict[str, float] | None:
        """Relative differences of rates and twice_nll at one point."""
        if bestfit is None:
            return None
        params, model = jnp.asarray(list(bestfit.values())), self.workspace.model
        rates = np.asarray(self.model.expected_actualdata(np.asarray(params)))
        ours = np.asarray(model.expected_actualdata(params))
        value = np.asarray(
            mle.twice_nll(np.asarray(params), self.data, self.model)
        ).item()
        shift = float(model.twice_nll(params, self.workspace.data)) - value
        scale = np.maximum(np.abs(rates), np.finfo(float).tiny)
        return {
            "expected_actualdata": float(np.max(np.abs(ours - rates) / scale)),
            "twice_nll": shift / max(abs(value), 1.0),
        }


@contextlib.contextmanager
def _minimiser(name: _Optimizer) -> Iterator[None]:
    """The NumPy backend of pyhf with one of its minimisers."""
    before = pyhf.get_backend()
    pyhf.set_backend("numpy", name)
    try:
        yield
    finally:
        pyhf.set_backend(*before)


def _differences(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    differences: dict[str, Any] = {}
    for key in ("best_twice_nll", "CLs_obs", "CLs_exp"):
        if key in theirs:
            difference = np.asarray(ours[key]) - np.asarray(theirs[key])
            differences[key] = difference.tolist()
    if "bestfit" in theirs:
        differences["bestfit"] = {
            name: (value - theirs["bestfit"][name]) / (ours["uncertainty"][name] or 1.0)
            for name, value in ours["bestfit"].items()
        }
    return differences


def _timed(step: Callable[[], _T]) -> tuple[_T, float]:
    start = time.perf_counter()
    result = step()
    return result, time.perf_counter() - start

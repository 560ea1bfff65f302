"""Learned ratios at events that took no part in their training."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffana.assemble import nsbi as assembly
from diffana.nsbi.calibration import Calibrated
from diffana.nsbi.parametric import AbstractParametricRatio, AtNuisance
from diffana.nsbi.pool import Pool
from diffana.nsbi.ratios import AbstractRatio, Ensemble, log_ratios, member_log_ratios
from diffana.workflow.nsbi.prepared import Prepared


class Class(NamedTuple):
    """Events of one class.

    Attributes:
        events: features and weights.
        log_ratio: of each event.
    """

    events: assembly.Weighted
    log_ratio: Float[np.ndarray, " event"]


class Tested(NamedTuple):
    """A ratio at independent events of both of its classes.

    Attributes:
        name: of the ratio.
        numerator: events of the numerator.
        denominator: other events, of the denominator.
        members: log ratios of the denominator by each member of the ensemble; None
            where the mean is not one of ratios.
    """

    name: str
    numerator: Class
    denominator: Class
    members: Float[np.ndarray, "event member"] | None


def tested(
    prepared: Prepared, ratios: Mapping[str, assembly.Learned]
) -> Iterator[Tested]:
    """Each ratio at the test events.

    One that depends on nuisance parameters is looked at where it was trained.

    Args:
        prepared: events, and what was learned from them.
        ratios: by name.

    Raises:
        DataError: naming the ratio that is not finite.
    """
    events = prepared.simulated.parts["test"]
    for job in prepared.plan.jobs:
        pool = assembly.pool(events, job.classes)
        for number in range(1, len(job.classes)):
            name = job.ratios[0 if job.points is not None else number - 1]
            ratio = ratios[name]
            if job.points is not None:
                point = job.points[number - 1]
                name = f"{name} at {_spelled(job.parameters, point)}"
                assert isinstance(ratio, AbstractParametricRatio)
                ratio = AtNuisance(ratio, point)  # pyright: ignore[reportArgumentType]
            assert isinstance(ratio, AbstractRatio)
            with assembly.naming(name):
                yield _tested(name, ratio, pool, number)


def _spelled(parameters: tuple[str, ...], point: tuple[float, ...]) -> str:
    return ", ".join(
        f"{name} = {value:+g}"
        for name, value in zip(parameters, point, strict=True)
        if value
    )


def _tested(name: str, ratio: AbstractRatio, pool: Pool, number: int) -> Tested:
    features, weight = np.asarray(pool.features), np.asarray(pool.weight)
    in_numerator, in_denominator = weight[:, number] > 0, weight[:, 0] > 0
    if np.any(in_numerator & in_denominator):
        # What is compared has to be independent. The order of events is random.
        is_even = np.arange(len(weight)) % 2 == 0
        in_numerator &= is_even
        in_denominator &= ~is_even
    logs = log_ratios(ratio, features)
    numerator, denominator = (
        Class(assembly.Weighted(features[rows], weight[rows, column]), logs[rows])
        for rows, column in ((in_numerator, number), (in_denominator, 0))
    )
    inner = ratio.ratio if isinstance(ratio, Calibrated) else ratio
    members = None
    if isinstance(inner, Ensemble):
        members = member_log_ratios(inner, denominator.events.features)
    return Tested(name, numerator, denominator, members)

"""What losses have computed for them: fits and matrices, each of them once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from diffana.errors import RESULTS
from diffana.fit import FitResult, Minimiser
from diffana.infer import (
    ExpectedUpperLimit,
    ProfileInterval,
    asimov_test,
    covariance,
    expected_upper_limit,
    fisher_information,
    nominal,
    profile_interval,
)
from diffana.infer.statistics import AsimovTest
from diffana.likelihood import AbstractLikelihood


class Hypotheses(NamedTuple):
    """Test of `poi_test` on the Asimov data of `poi_true`.

    Attributes:
        poi_true: value of the parameter of interest that generates the data.
        poi_test: value that is tested.
    """

    poi_true: float
    poi_test: float


class Interval(NamedTuple):
    """Profile-likelihood interval on the Asimov data of `poi_true`.

    Attributes:
        poi_true: value of the parameter of interest that generates the data.
        level: height of twice_nll above its minimum at the edges, > 0.
    """

    poi_true: float
    level: float


@final
@dataclass(frozen=True)
class Needs:
    """What a loss asks for. Two losses that ask for the same share it.

    `a | b` is what two losses need together.

    Attributes:
        tests: tests on Asimov data, one fit each.
        fisher: values of the parameter of interest in the Asimov data whose Fisher
            information is needed.
        limits: values of CLs at which the median upper limit is needed.
        intervals: intervals of the parameter of interest.
    """

    tests: tuple[Hypotheses, ...] = ()
    fisher: tuple[float, ...] = ()
    limits: tuple[float, ...] = ()
    intervals: tuple[Interval, ...] = ()

    def __or__(self, other: "Needs") -> "Needs":
        both = (
            tuple(dict.fromkeys(getattr(self, kind.name) + getattr(other, kind.name)))
            for kind in fields(self)
        )
        return Needs(*both)


@final
class Fisher(eqx.Module):
    """Fisher information on Asimov data with nominal nuisance parameters.

    Attributes:
        information: half the second derivative of twice_nll.
        covariance: its inverse on the parameters that are not held, and zero in the
            rows of the others; nan where the information is singular.
    """

    information: Float[Array, "par par"]
    covariance: Float[Array, "par par"]


@final
class Ingredients(eqx.Module):
    """What was asked for with `Needs`, each kind by what was asked."""

    tests: Mapping[Hypotheses, AsimovTest]
    fisher: Mapping[float, Fisher]
    limits: Mapping[float, ExpectedUpperLimit]
    intervals: Mapping[Interval, ProfileInterval]

    def result(self, needs: Needs) -> RESULTS:
        """The first failure among the fits and searches behind `needs`."""
        ends = [self.tests[asked].fit.result for asked in needs.tests]
        ends += [self.limits[asked].result for asked in needs.limits]
        ends += [self.intervals[asked].result for asked in needs.intervals]
        result = RESULTS.successful
        for end in ends:
            result = RESULTS.where(result == RESULTS.successful, end, result)
        return result


def gather(
    likelihood: AbstractLikelihood, needs: Needs, minimiser: Minimiser | None = None
) -> Ingredients:
    """Compute everything in `needs`, each once. Failures are data.

    Args:
        likelihood: a statistical model with a parameter of interest, unless nothing is
            needed.
        needs: what one or more losses ask for.
        minimiser: settings of the fits.

    Example:
        >>> needs = Cls().needs | P0().needs
        >>> found = gather(likelihood, needs)
        >>> Cls().judge(likelihood, (), found).value
    """
    return Ingredients(
        tests=asimov_tests(likelihood, needs.tests, minimiser),
        fisher={poi: _fisher(likelihood, poi) for poi in needs.fisher},
        limits={
            level: expected_upper_limit(
                likelihood, level=level, minimiser=minimiser, throw=False
            )
            for level in needs.limits
        },
        intervals={
            asked: _interval(likelihood, asked, minimiser) for asked in needs.intervals
        },
    )


def asimov_tests(
    likelihood: AbstractLikelihood,
    hypotheses: Sequence[Hypotheses],
    minimiser: Minimiser | None = None,
) -> dict[Hypotheses, AsimovTest]:
    """All tests in one batch of fits, each distinct one once.

    Args:
        likelihood: a statistical model with a parameter of interest.
        hypotheses: the tests wanted, possibly with repetitions.
        minimiser: settings of the fits.
    """
    distinct = tuple(dict.fromkeys(hypotheses))
    if not distinct:
        return {}

    def run(poi_true, poi_test):
        params = nominal(likelihood, poi_true)
        return asimov_test(
            likelihood, params, poi_test, minimiser=minimiser, throw=False
        )

    if len(distinct) == 1:
        # Without the batch axis the program compiles in two thirds of the time.
        return {distinct[0]: run(distinct[0].poi_true, distinct[0].poi_test)}
    tests = jax.vmap(run)(
        jnp.array([asked.poi_true for asked in distinct]),
        jnp.array([asked.poi_test for asked in distinct]),
    )
    return {
        asked: jax.tree.map(lambda leaf, i=i: leaf[i], tests)
        for i, asked in enumerate(distinct)
    }


def _fisher(likelihood: AbstractLikelihood, poi: float) -> Fisher:
    information = fisher_information(likelihood, nominal(likelihood, poi))
    return Fisher(information, covariance(information, ~likelihood.parameters.fixed))


def _interval(
    likelihood: AbstractLikelihood, asked: Interval, minimiser: Minimiser | None
) -> ProfileInterval:
    params = nominal(likelihood, asked.poi_true)
    data = likelihood.expected_data(params)
    name = likelihood.parameters.names[likelihood.parameters.poi_index]
    return profile_interval(
        likelihood,
        data,
        name,
        level=asked.level,
        fit=_exact_fit(likelihood, params, data),
        minimiser=minimiser,
        throw=False,
    )


def _exact_fit(likelihood, params, data) -> FitResult:
    """The fit to Asimov data, whose minimum is known."""
    lowest = likelihood.twice_nll(params, data)
    finite = jnp.isfinite(lowest)
    return FitResult(
        bestfit=params,
        best_twice_nll=lowest,
        edm=jnp.zeros(()),
        free=~likelihood.parameters.fixed,
        at_bound=jnp.zeros(params.shape, bool),
        competing_gap=jnp.array(jnp.inf),
        n_steps=jnp.zeros((), int),
        result=RESULTS.where(finite, RESULTS.successful, RESULTS.non_finite),
    )

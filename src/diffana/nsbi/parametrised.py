"""Binned tests whose observable moves with the tested value.

One observable cannot be the best one for every value of the parameter of interest. So
each tested value gets its own: the optimal observable of the events at that value, in
bins whose edges follow, and both fits of the test statistic, the free and the
conditional one, are made with it. Minima of different tested values are minima of
different data and must not be compared.

With a fixed observable it is an ordinary binned analysis. In either case the intensity
that makes the observable may be another one than that whose events fill the bins. Wrong
density ratios then cost sensitivity and bias nothing, if the bins are filled rightly.

Source: "parametrised NSBI", poodemo (github.com/rafaellopesdesa/poodemo).
"""

from collections.abc import Callable, Mapping
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from diffana.errors import RESULTS, DataError
from diffana.fit import FitResult, Minimiser, fit, fit_together
from diffana.nsbi.binned_mixture import BinnedData, BinnedMixture
from diffana.nsbi.bins import HardBins, least_loss_edges
from diffana.nsbi.channel import Channel
from diffana.nsbi.likelihood import Unbinned, UnbinnedData
from diffana.nsbi.optimal_observables import (
    AbstractOptimalObservable,
    LogIntensityRatio,
    poi_score,
    profiled_score,
)
from diffana.nsbi.rows import Rows


Params = Float[Array, " par"]
Choice = Callable[[Unbinned, Params], AbstractOptimalObservable]
"""The observable with which given parameters are tested."""
Binning = Callable[
    [Float[ArrayLike, "chunk event"], Float[ArrayLike, "chunk event"], int],
    Float[ArrayLike, " edge"],
]
"""Edges from values, expected events per row, and the number of bins."""


@final
class ParametrisedScan(eqx.Module):
    """A test of every value, each with its own observable.

    A point whose fits are not certified is nan.

    Attributes:
        name: the parameter of interest.
        values: its tested values, in its unit.
        delta_twice_nll: conditional above free minimum, both with the observable of the
            tested value.
        bestfit: parameters of every conditional fit.
        free: the free fit of every tested value.
        result: how the fits of every value ended.
    """

    name: str = eqx.field(static=True)
    values: Float[Array, " point"]
    delta_twice_nll: Float[Array, " point"]
    bestfit: Float[Array, "point par"]
    free: FitResult
    result: RESULTS


def binned_with(
    model: Unbinned,
    data: UnbinnedData,
    observable: AbstractOptimalObservable,
    n_bins: int,
    *,
    filling: Unbinned | None = None,
    expectation: Params | None = None,
    binning: Binning = least_loss_edges,
) -> tuple[BinnedMixture, BinnedData]:
    """Count the events of all regions in bins of one observable.

    Not to be called under `jit`.

    Args:
        model: the unbinned likelihood whose intensities the observable is made of.
        data: its data.
        observable: what the events are counted in.
        n_bins: number of bins of each region, > 0.
        filling: the likelihood that expects the events in the bins, if it is another
            one; its banks have the same rows.
        expectation: parameters at which the expected events that the edges depend on
            are taken; by default the initial ones.
        binning: makes the edges.

    Raises:
        DataError: naming the region, if an intensity at which the observable or the
            edges are taken is not positive for some event, or the observable has too
            few different values.

    Example:
        >>> score = poi_score(model, model.parameters.inits)
        >>> fit(*binned_with(model, data, score, 20))
    """
    names = model.parameters.names
    params = model.parameters.inits if expectation is None else expectation
    filled = model if filling is None else filling
    of_bank, of_data = [], []
    for channel, other, rows in zip(
        model.channels, filled.channels, data.rows, strict=True
    ):
        try:
            value = _values(channel, names, observable, channel.bank)
            weight = _expected(other, filled.parameters.names, params)
            edges = binning(value, weight, n_bins)
            of_bank.append(HardBins.between(value, edges))
            if rows.source is None:
                of_data.append(of_bank[-1])
                continue
            seen = _values(channel, names, observable, rows)
            if not bool(jnp.isfinite(seen).all()):
                first = int(jnp.argmin(jnp.isfinite(seen)))
                raise DataError(
                    f"event {first} of the data: its intensity is not positive"
                )
            of_data.append(HardBins.between(seen, edges))
        except DataError as error:
            raise DataError(f"region {channel.name!r}: {error}") from error
    binned = BinnedMixture.of(filled, of_bank)
    return binned, binned.binned(data, of_data)


def parametrised_scan(
    model: Unbinned,
    data: UnbinnedData,
    values: Float[ArrayLike, " point"],
    choice: Choice,
    n_bins: int,
    *,
    filling: Unbinned | None = None,
    binning: Binning = least_loss_edges,
    nominal: Params | None = None,
    fixed: Mapping[str, ArrayLike] | None = None,
    minimiser: Minimiser | None = None,
    throw: bool = True,
) -> ParametrisedScan:
    """Test values of the parameter of interest, each with the observable made for it.

    Not to be called under `jit`; programs are compiled once for all values.

    Args:
        model: the unbinned likelihood whose intensities the observables are made of.
        data: its data.
        values: tested values of the parameter of interest.
        choice: makes the observable from the model, which has the `fixed` parameters
            fixed, and the tested parameters:
            `ratio_to`, `profiled_score`, `poi_score`, or one that is always the same.
        n_bins: number of bins of each region, > 0.
        filling: as in `binned_with`; it has the same parameters.
        binning: makes the edges, for the expected events of the tested parameters.
        nominal: the other parameters at which observables and edges are taken; by
            default their initial values.
        fixed: parameters to hold in all fits.
        minimiser: settings of the fits.
        throw: whether a fit that is not certified raises; otherwise `result` tells.

    Raises:
        ValueError: if the values do not form a row, or the parameter of interest is
            held.
        DataError: as `binned_with`.
        EquinoxRuntimeError: if `throw` and a fit is not certified.

    Example:
        >>> choice = ratio_to(model.parameters.inits, profiled=True)
        >>> values = jnp.linspace(0.0, 2.0, 21)
        >>> parametrised_scan(model, data, values, choice, n_bins=32).delta_twice_nll
    """
    parameters = model.parameters
    index = parameters.poi_index
    name = parameters.names[index]
    tested = jnp.asarray(values, float)
    if tested.ndim != 1 or tested.size == 0:
        raise ValueError(f"values of {name!r} have shape {tested.shape}")
    held = {key: jnp.asarray(value, float) for key, value in (fixed or {}).items()}
    if name in held:
        raise ValueError(f"{name!r} is held, so that it cannot be scanned")
    params = parameters.inits if nominal is None else nominal
    known = _holding(model, held)
    for key, value in held.items():
        params = params.at[parameters.index(key)].set(value)
    fits = []
    for value in tested:
        at = params.at[index].set(value)
        binned, counted = binned_with(
            model,
            data,
            choice(known, at),
            n_bins,
            filling=filling,
            expectation=at,
            binning=binning,
        )
        both = fit_together(
            binned,
            counted,
            [held, {**held, name: value}],
            minimiser=minimiser,
            throw=throw,
        )
        fits.append(both)
    every = jax.tree.map(lambda *rows: jnp.stack(rows), *fits)
    free = jax.tree.map(lambda row: row[:, 0], every)
    conditional = jax.tree.map(lambda row: row[:, 1], every)
    ends = jax.vmap(
        lambda first, second: RESULTS.where(first == RESULTS.successful, second, first)
    )(free.result, conditional.result)
    return ParametrisedScan(
        name=name,
        values=tested,
        delta_twice_nll=conditional.best_twice_nll - free.best_twice_nll,
        bestfit=conditional.bestfit,
        free=free,
        result=ends,
    )


def ratio_to(
    reference: Params, *, profiled: bool = False, minimiser: Minimiser | None = None
) -> Choice:
    """Observables that compare the tested with the reference intensity.

    If the data come from the reference, they are the best ones, also for a reference
    far away, where scores are not: with many bins the test becomes the unbinned one.
    With nuisance parameters that takes profiled ones. Where the reference itself is
    tested there is no such ratio, and the score takes its place, to which small ratios
    are proportional.

    Args:
        reference: all parameters of the reference.
        profiled: whether the nuisance parameters of the tested intensity are those that
            fit expected data of the reference best, at the cost of an unbinned fit for
            every value; otherwise they are as given.
        minimiser: settings of these fits.

    Example:
        >>> parametrised_scan(model, data, values, ratio_to(truth), n_bins=32)
    """

    def choice(model: Unbinned, at: Params) -> AbstractOptimalObservable:
        parameters = model.parameters
        poi = at[parameters.poi_index]
        if jnp.allclose(poi, reference[parameters.poi_index], rtol=1e-6):
            return profiled_score(model, at) if profiled else poi_score(model, at)
        if profiled:
            name = parameters.names[parameters.poi_index]
            expected = eqx.filter_jit(Unbinned.expected_data)(model, reference)
            found = fit(model, expected, fixed={name: poi}, minimiser=minimiser)
            at = found.bestfit
        return LogIntensityRatio(at, reference)

    return choice


def _holding(model: Unbinned, held: Mapping[str, Array]) -> Unbinned:
    """The same model with some parameters fixed."""
    parameters = model.parameters
    inits, fixed = parameters.inits, parameters.fixed
    for key, value in held.items():
        index = parameters.index(key)
        inits, fixed = inits.at[index].set(value), fixed.at[index].set(True)
    where = lambda one: (one.parameters.inits, one.parameters.fixed)
    return eqx.tree_at(where, model, (inits, fixed))


@eqx.filter_jit
def _expected(
    channel: Channel, names: tuple[str, ...], params: Params
) -> Float[Array, "chunk event"]:
    return channel.expected_weight(names, params)


@eqx.filter_jit
def _values(
    channel: Channel,
    names: tuple[str, ...],
    observable: AbstractOptimalObservable,
    rows: Rows,
) -> Float[Array, "chunk event"]:
    return observable(channel, names, rows)

"""The unbinned likelihood: events of several regions, and constraint terms."""

from collections.abc import Sequence
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Scalar

from diffana.errors import DataError
from diffana.likelihood import AbstractLikelihood, Expansion, Parameters, Scoring
from diffana.nsbi.channel import Channel, LogIntensity
from diffana.nsbi.morphs import PolyExp, lifts
from diffana.nsbi.norms import Jet
from diffana.nsbi.rows import AbstractTerms, HeldTerms, Rows
from diffana.numerics import as_float


class UnbinnedData(NamedTuple):
    """A data set.

    Attributes:
        rows: events of each region. Pseudo-data are weights of the model's own
            reference events and have no terms.
        auxdata: auxiliary measurement of each constrained nuisance parameter.
    """

    rows: tuple[Rows, ...]
    auxdata: Float[Array, " constraint"]


@final
class GaussianConstraints(eqx.Module):
    """Auxiliary measurements of nuisance parameters.

    Attributes:
        parameters: names of the parameters.
        width: standard deviation of each measurement, in the unit of its parameter.
    """

    parameters: tuple[str, ...] = eqx.field(static=True)
    width: Float[Array, " constraint"] = eqx.field(converter=as_float)

    @classmethod
    def unit(cls, parameters: Sequence[str]) -> "GaussianConstraints":
        """Constraints of width 1."""
        return cls(tuple(parameters), np.ones(len(parameters)))


@final
class Unbinned(AbstractLikelihood):
    """Extended likelihood of events without bins.

    Given as a likelihood ratio to the reference hypothesis, that as many events as
    nominally expected, ν₀, have the reference density. For the weighted events i of all
    regions, with the total yield ν and the intensity λ in units of that of the
    reference (see `channel`),

        -2 ln L = 2 (ν - ν₀ - Σ w_i ln λ_i) + Σ_k [((α_k - a_k)/σ_k)² + ln 2πσ_k²].

    The value is inf where the intensity of an event is not positive.

    Attributes:
        parameters: names, starting values, bounds.
        channels: the regions.
        constraints: of the nuisance parameters.

    Source: Barlow, Nucl. Instrum. Meth. A 297 (1990) 496; ATLAS, arXiv:2412.01600.
    """

    parameters: Parameters
    channels: tuple[Channel, ...]
    constraints: GaussianConstraints

    def __check_init__(self):
        names = self.parameters.names
        for channel in self.channels:
            for name in channel.parameters:
                if name not in names:
                    raise ValueError(
                        f"region {channel.name!r}: parameter {name!r} is not among "
                        f"{', '.join(names)}"
                    )
        for name in self.constraints.parameters:
            self.parameters.index(name)

    def settled(self) -> "Unbinned":
        """The same with the normalisation of constant shapes computed in advance."""
        channels = tuple(channel.settled() for channel in self.channels)
        return eqx.tree_at(lambda model: model.channels, self, channels)

    def without_constraints(self, parameters: Sequence[str]) -> "Unbinned":
        """The same without the constraints of some parameters."""
        kept = [
            i
            for i, name in enumerate(self.constraints.parameters)
            if name not in parameters
        ]
        names = tuple(self.constraints.parameters[i] for i in kept)
        width = self.constraints.width[jnp.array(kept, int)]
        return Unbinned(
            self.parameters, self.channels, GaussianConstraints(names, width)
        )

    def expected_yield(self, params: Float[Array, " par"]) -> Scalar:
        """Expected events of all regions."""
        names = self.parameters.names
        return sum(
            (jnp.sum(channel.yields(names, params)) for channel in self.channels),
            start=jnp.zeros(()),
        )

    def twice_nll(self, params: Float[Array, " par"], data: UnbinnedData) -> Scalar:
        """-2 ln L; inf where the intensity of an event is not positive."""
        return self._terms(params, data, order=0).value

    def twice_nll_table(
        self, points: Float[Array, "point par"], data: UnbinnedData
    ) -> Float[Array, "toy point"]:
        """-2 ln L of every data set at every point.

        For pseudo-data, which are weights of the bank's events, the logarithms of
        intensities are computed once for all data sets, and the rest is a product of
        two matrices.
        """
        if any(rows.source is not None for rows in data.rows):
            return super().twice_nll_table(points, data)
        names, inits = self.parameters.names, self.parameters.inits
        at = _positions(names, self.constraints.parameters)
        width = self.constraints.width
        pull = (points[None, :, at] - data.auxdata[:, None]) / width[None, None]
        value = jnp.sum(pull**2 + jnp.log(2 * jnp.pi * width**2)[None, None], axis=2)
        for channel, rows in zip(self.channels, data.rows, strict=True):
            reference = jnp.sum(channel.yields(names, inits))
            weight = rows.weight.reshape(rows.weight.shape[0], -1)

            def at_point(point, channel=channel, reference=reference):
                log = channel.log_intensities(names, point, reference=reference)
                total = jnp.sum(channel.yields(names, point)) - reference
                return total, jnp.ravel(log)

            total, log = jax.lax.map(at_point, points)
            positive = jnp.isfinite(log)
            lost = (weight != 0).astype(float) @ (~positive).T.astype(float) > 0
            events = weight @ jnp.where(positive, log, 0.0).T
            value = value + 2 * (total[None] - jnp.where(lost, -jnp.inf, events))
        return value

    def gradient(
        self, params: Float[Array, " par"], data: UnbinnedData
    ) -> Float[Array, " par"]:
        """First derivative of `twice_nll` with respect to `params`."""
        return self._terms(params, data, order=1).gradient

    def hessian(
        self, params: Float[Array, " par"], data: UnbinnedData
    ) -> Float[Array, "par par"]:
        """Second derivative of `twice_nll` with respect to `params`."""
        return self._terms(params, data, order=2).hessian

    def curvature(
        self, params: Float[Array, " par"], data: UnbinnedData
    ) -> Float[Array, "par par"]:
        """Twice the outer product of the scores of the events, and the constraints.

        At the parameters that generated the data its mean is that of the Hessian.
        """
        return self._terms(params, data, order=1).curvature

    def scoring(self, params: Float[Array, " par"], data: UnbinnedData) -> Scoring:
        """Value, gradient and curvature in one pass over the events."""
        found = self._terms(params, data, order=1)
        return Scoring(found.value, found.gradient, found.curvature)

    def expansion(
        self,
        params: Float[Array, " par"],
        data: UnbinnedData,
        *,
        exact: bool | Bool[Array, ""] = True,
    ) -> Expansion:
        """Value and derivatives in closed form, in one pass over the events."""
        if isinstance(exact, bool):
            found = self._terms(params, data, order=2 if exact else 1)
        else:
            found = jax.lax.cond(
                exact,
                lambda: self._terms(params, data, order=2),
                lambda: self._terms(params, data, order=1),
            )
        weight, directions = jnp.linalg.eigh(found.outer)
        constrained = found.curvature - found.outer
        bend = jnp.where(exact, found.hessian - found.curvature, 0.0)
        return Expansion(
            value=found.value,
            gradient=found.gradient,
            diagonal=jnp.diagonal(constrained),
            rows=directions.T,
            weight=jnp.maximum(weight, 0.0),
            bend=bend,
        )

    def expected_data(self, params: Float[Array, " par"]) -> UnbinnedData:
        """The Asimov data set: every reference event with its expected weight.

        Shapes are normalised with the same events, so that its best fit is `params` to
        rounding, whether the ratios are right or not.
        """
        names = self.parameters.names
        rows = tuple(
            Rows(channel.expected_weight(names, params), None)
            for channel in self.channels
        )
        return UnbinnedData(rows, self._constrained(params))

    def sample(self, params: Float[Array, " par"], key: PRNGKeyArray) -> UnbinnedData:
        """One pseudo-experiment: reference events drawn from the total intensity.

        The number of times an event occurs is Poisson distributed around its expected
        weight, as if events were drawn from the bank with replacement. nan marks events
        of negative intensity.
        """
        expected = self.expected_data(params)
        event_key, noise_key = jax.random.split(key)
        keys = jax.random.split(event_key, len(expected.rows))
        rows = tuple(
            Rows(_counts(one.weight, key), None)
            for one, key in zip(expected.rows, keys, strict=True)
        )
        noise = jax.random.normal(noise_key, self.constraints.width.shape)
        return UnbinnedData(rows, expected.auxdata + self.constraints.width * noise)

    def samples(
        self, params: Float[Array, "*toy par"], n_toys: int, seed: int
    ) -> UnbinnedData:
        """Pseudo-experiments, drawn by NumPy, one per entry of the leading axes."""
        rng = np.random.default_rng(seed)
        expected = _expected_at_each(self, jnp.atleast_2d(params))
        rows = []
        for one in expected.rows:
            mean = np.asarray(one.weight)
            positive = np.where(mean >= 0, mean, 0.0)
            drawn = rng.poisson(positive, (n_toys, *mean.shape[1:]))
            rows.append(Rows(jnp.where(mean >= 0, drawn, jnp.nan), None))
        noise = rng.standard_normal((n_toys, len(self.constraints.parameters)))
        aux = np.asarray(expected.auxdata) + np.asarray(self.constraints.width) * noise
        return UnbinnedData(tuple(rows), jnp.asarray(aux))

    def _constrained(self, params: Float[Array, " par"]) -> Float[Array, " constraint"]:
        names = self.parameters.names
        return params[_positions(names, self.constraints.parameters)]

    def _terms(
        self, params: Float[Array, " par"], data: UnbinnedData, *, order: int
    ) -> "_Sums":
        """-2 ln L and its derivatives."""
        names = self.parameters.names
        n_par = len(names)
        if params.shape != (n_par,):
            raise ValueError(f"params have shape {params.shape}, not ({n_par},)")
        at = _positions(names, self.constraints.parameters)
        width = self.constraints.width
        pull = (params[at] - data.auxdata) / width
        found = _Sums(
            value=jnp.sum(pull**2 + jnp.log(2 * jnp.pi * width**2)),
            gradient=jnp.zeros(n_par).at[at].add(2 * pull / width),
            outer=jnp.zeros((n_par, n_par)),
            curvature=jnp.zeros((n_par, n_par)).at[at, at].add(2 / width**2),
            hessian=jnp.zeros((n_par, n_par)).at[at, at].add(2 / width**2),
        )
        inits = self.parameters.inits
        for channel, rows in zip(self.channels, data.rows, strict=True):
            reference = jnp.sum(channel.yields(names, inits))
            events, total = channel.log_intensity(
                names, params, rows, reference=reference, order=order
            )
            total = total._replace(value=total.value - reference)
            found = found.plus(events, total)
        return found


class _Sums(NamedTuple):
    """-2 ln L and its derivatives.

    Attributes:
        value: -2 ln L.
        gradient: first derivative.
        outer: part of the curvature that is due to events.
        curvature: positive semi-definite part of the second derivative.
        hessian: the second derivative.
    """

    value: Scalar
    gradient: Float[Array, " par"]
    outer: Float[Array, "par par"]
    curvature: Float[Array, "par par"]
    hessian: Float[Array, "par par"]

    def plus(self, events: LogIntensity, total: Jet) -> "_Sums":
        """With the events and the yield of a region."""
        outer = 2 * events.outer
        return _Sums(
            self.value + 2 * (total.value - events.value),
            self.gradient + 2 * (total.first - events.gradient),
            self.outer + outer,
            self.curvature + outer,
            self.hessian + 2 * (total.second - events.hessian),
        )


def check(model: Unbinned, data: UnbinnedData) -> None:
    """Refuse a model or data for which no likelihood can be computed at nominal.

    Not to be called under `jit`.

    Raises:
        DataError: naming the region, if its reference events have no weight, a
            component has no density among them, the shape of one in the data becomes
            negative between α = -1 and 1, or the intensity of an event in the data is
            not positive at the initial parameters; and then which event. Events that
            are not in memory are not looked at.

    Example:
        >>> check(model, model.expected_data(model.parameters.inits))
    """
    names, params = model.parameters.names, model.parameters.inits
    for channel, rows in zip(model.channels, data.rows, strict=True):
        where = f"region {channel.name!r}"
        total = float(channel.bank.total())
        if not total > 0:
            raise DataError(
                f"{where}: the reference events have a total weight of {total:g}"
            )
        norms = np.asarray(channel.log_norms(names, params, order=0).value)
        for component, norm in zip(channel.components, norms, strict=True):
            if not np.isfinite(norm):
                raise DataError(
                    f"{where}, component {component.name!r}: its density has no "
                    "finite mean over the reference events"
                )
        for used in (channel.bank, rows):
            _check_polynomials(channel, used, where)
        if not isinstance(_terms_of(channel, rows), HeldTerms):
            continue
        lowest = _first_without_intensity(channel, names, params, rows)
        if lowest is not None:
            raise DataError(
                f"{where}, event {lowest}: the total intensity is not positive at the "
                "nominal parameters"
            )


def _check_polynomials(channel: Channel, rows: Rows, where: str) -> None:
    """Refuse events for which a morph would take the logarithm of a negative number."""
    if not isinstance(rows.source, HeldTerms):
        return
    used = np.ravel(rows.weight) != 0
    for component, shapes in zip(
        channel.components, rows.source.terms.shapes, strict=True
    ):
        for morph, terms in zip(component.shape_morphs, shapes, strict=True):
            if not isinstance(morph, PolyExp) or terms.shape[2] == 3:
                continue
            ends = np.asarray(terms).reshape(-1, *terms.shape[2:])[used]
            missing = lifts(ends[:, 0], ends[:, 1]) > 0
            if missing.any():
                event, nuisance = np.argwhere(missing)[0]
                raise DataError(
                    f"{where}, component {component.name!r}, event "
                    f"{np.flatnonzero(used)[event]}: the shape becomes negative "
                    f"between {morph.parameters[nuisance]} = -1 and 1; `lifts` tells "
                    "what keeps it positive"
                )


@eqx.filter_jit
def _expected_at_each(model: Unbinned, params: Float[Array, "toy par"]) -> UnbinnedData:
    return jax.lax.map(model.expected_data, params)


def _terms_of(channel: Channel, rows: Rows) -> AbstractTerms:
    source = channel.bank.source if rows.source is None else rows.source
    if source is None:
        raise ValueError(f"region {channel.name!r}: the bank has no terms")
    return source


@eqx.filter_jit
def _has_intensity(channel, names, params, rows):
    """Whether the intensity of each event with weight is positive."""
    amplitudes = channel.yields(names, params) * jnp.exp(
        -channel.log_norms(names, params, order=0).value
    )
    source = _terms_of(channel, rows)

    def append(carry, weight, terms):
        number, found = carry
        scaled, _ = channel.densities(names, params, terms)
        row = (scaled @ amplitudes > 0) | (weight == 0)
        return number + 1, found.at[number].set(row)

    start = jnp.zeros((), int), jnp.ones(rows.weight.shape, bool)
    return source.scan(append, start, rows.weight)[1]


def _first_without_intensity(channel, names, params, rows) -> int | None:
    positive = np.ravel(_has_intensity(channel, names, params, rows))
    return None if positive.all() else int(np.argmin(positive))


def _counts(
    mean: Float[Array, "chunk event"], key: PRNGKeyArray
) -> Float[Array, "chunk event"]:
    drawn = jax.random.poisson(key, jnp.where(mean >= 0, mean, 0.0)).astype(float)
    return jnp.where(mean >= 0, drawn, jnp.nan)


def _positions(names: tuple[str, ...], chosen: tuple[str, ...]) -> np.ndarray:
    return np.array([names.index(name) for name in chosen], int)

"""Density ratios that depend on nuisance parameters, learned by one network."""

import abc
from typing import final

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Scalar

from diffana.errors import SpecificationError
from diffana.nsbi.classifier import AbstractClassifier
from diffana.nsbi.morphs import LogPolynomial
from diffana.nsbi.ratios import AbstractRatio, for_each_event
from diffana.numerics import as_float
from diffana.observable import MLP
from diffana.trainable import HELD


class AbstractParametricRatio(eqx.Module):
    """ln g(x|α) = Σ_A α^A Δ_A(x): a process at nuisance parameters α over the nominal.

    The sum is over monomials of the nuisance parameters, mixed ones included, so g is
    positive for all α and 1 at α = 0. What depends on the event are the coefficients
    Δ_A, the terms of the morph; a fit needs them once per event.
    """

    morph: eqx.AbstractVar[LogPolynomial]

    @abc.abstractmethod
    def coefficients(
        self, features: Float[Array, " feature"]
    ) -> Float[Array, " monomial"]:
        """The Δ_A of one event, in the order of the powers of the morph.

        Args:
            features: of the event.
        """

    def log_ratio(
        self, features: Float[Array, " feature"], alpha: Float[Array, " nuisance"]
    ) -> Scalar:
        """Value of ln g(x|α) for one event.

        Args:
            features: of the event.
            alpha: nuisance parameters, in the order of the morph.
        """
        (value,) = self.morph.log_factor(alpha, self.coefficients(features)[None])
        return value


@final
class ParametricRatio(AbstractParametricRatio):
    """The coefficients are the outputs of a network; arXiv:2505.05544.

    Attributes:
        network: with as many outputs as the morph has monomials.
        morph: names the nuisance parameters and the monomials.

    Example:
        >>> morph = LogPolynomial(("a", "b"), powers=((1, 0), (0, 1), (1, 1)))
        >>> network = MLP(2, hidden=(8,), n_outputs=3, key=jax.random.key(0))
        >>> ratio = ParametricRatio(network, morph)
        >>> ratio.coefficients(np.array([0.3, -1.2])).shape
        (3,)
    """

    network: MLP
    morph: LogPolynomial

    def __check_init__(self):
        if self.network.n_outputs != len(self.morph.powers):
            raise ValueError(
                f"parametric ratio: n_outputs={self.network.n_outputs} of the network "
                f"for {len(self.morph.powers)} monomials"
            )

    def coefficients(
        self, features: Float[Array, " feature"]
    ) -> Float[Array, " monomial"]:
        """Outputs of the network, in the default floating-point type."""
        return self.network.logit(features).astype(float)


@final
class ParametricEnsemble(AbstractParametricRatio):
    """Mean coefficients of several parametric ratios.

    This is the mean of ln g, so that a fit needs no more numbers per event than for one
    of them. Its integral over the nominal density is not exactly 1, and neither is that
    of any member: the likelihood divides by it.

    Attributes:
        members: one ratio whose arrays have a leading axis for the members.
    """

    members: ParametricRatio

    def __init__(self, members: ParametricRatio):
        self.members = members

    @property
    def morph(self) -> LogPolynomial:  # pyright: ignore
        """That of the members."""
        return self.members.morph

    def member_coefficients(
        self, features: Float[Array, " feature"]
    ) -> Float[Array, "member monomial"]:
        """The Δ_A of one event by every member, for the spread among them."""
        evaluate = eqx.filter_vmap(
            lambda member: member.coefficients(features), in_axes=eqx.if_array(0)
        )
        return evaluate(self.members)

    def coefficients(
        self, features: Float[Array, " feature"]
    ) -> Float[Array, " monomial"]:
        """Mean of those of the members."""
        return self.member_coefficients(features).mean(axis=0)


@final
class AtNuisance(AbstractRatio):
    """A parametric ratio at one point of the nuisance parameters.

    Attributes:
        ratio: the parametric ratio.
        alpha: nuisance parameters, in the order of the morph.
    """

    ratio: AbstractParametricRatio
    alpha: Float[Array, " nuisance"] = eqx.field(converter=as_float, metadata=HELD)

    def __check_init__(self):
        if self.alpha.shape != (len(self.ratio.morph.parameters),):
            raise ValueError(
                f"parametric ratio: alpha has shape {self.alpha.shape} for the "
                f"nuisance parameters {self.ratio.morph.parameters}"
            )

    def log_ratio(self, features: Float[Array, " feature"]) -> Scalar:
        """Value of ln g at this point."""
        return self.ratio.log_ratio(features, self.alpha)


def coefficients(
    ratio: AbstractParametricRatio,
    features: Float[ArrayLike, "event feature"],
    *,
    batch: int = 2**13,
) -> Float[np.ndarray, "event monomial"]:
    """Coefficients of many events: the terms of their `LogPolynomial`.

    Args:
        ratio: the parametric ratio.
        features: of the events; may be mapped from a file.
        batch: events evaluated at a time. One program serves any number of events.

    Raises:
        DataError: if one is not finite; the message names the first such event.
    """
    return for_each_event(_coefficients, ratio, features, batch=batch)


def _coefficients(
    ratio: AbstractParametricRatio, features: Float[Array, " feature"]
) -> Float[Array, " monomial"]:
    return ratio.coefficients(features)


@final
class VariedClassifier(AbstractClassifier):
    """Trains a parametric ratio on samples at several values of its parameters.

    Class 0 is the nominal sample and class c the sample at point c - 1. With the loss
    `BinaryCrossEntropy` every varied sample is told from the nominal one, which is the
    loss of arXiv:2505.05544 with all samples normalised to the same yield.

    Attributes:
        ratio: what is trained.
        monomials: α^A of each point.

    Example:
        >>> morph = LogPolynomial(("a",), powers=((1,), (2,)))
        >>> network = MLP(2, hidden=(8,), n_outputs=2, key=jax.random.key(0))
        >>> points = np.array([[-1.0], [1.0]])
        >>> VariedClassifier.of(ParametricRatio(network, morph), points).monomials
        Array([[-1.,  1.],
               [ 1.,  1.]], dtype=float64)
    """

    ratio: ParametricRatio
    monomials: Float[Array, "numerator monomial"] = eqx.field(
        converter=as_float, metadata=HELD
    )

    @classmethod
    def of(
        cls, ratio: ParametricRatio, points: Float[ArrayLike, "numerator nuisance"]
    ) -> "VariedClassifier":
        """The classifier for samples at `points`.

        Args:
            ratio: to be trained.
            points: nuisance parameters of each varied sample; the nominal one, at 0, is
                not among them.

        Raises:
            SpecificationError: if the points do not determine all coefficients.
        """
        morph, places = ratio.morph, np.asarray(points, dtype=float)
        if places.ndim != 2 or places.shape[1] != len(morph.parameters):
            raise SpecificationError(
                f"parametric ratio: points have shape {places.shape}; each needs "
                f"values of {', '.join(morph.parameters)}"
            )
        n_monomials = len(morph.powers)
        monomials = np.prod(places[:, None] ** np.array(morph.powers)[None], axis=2)
        rank = np.linalg.matrix_rank(monomials)
        if rank < n_monomials:
            raise SpecificationError(
                f"parametric ratio: samples at {len(places)} points determine {rank} "
                f"of the {n_monomials} coefficients of {', '.join(morph.parameters)}; "
                "take samples at more points or fewer monomials"
            )
        return cls(ratio, monomials)

    def logits(self, features: Float[Array, " feature"]) -> Float[Array, " numerator"]:
        """Value of ln g at each of the points."""
        monomials = jax.lax.stop_gradient(self.monomials)
        return monomials @ self.ratio.coefficients(features)

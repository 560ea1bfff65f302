"""Ensembles whose log ratio is a fitted combination of their members', with its error.

The members are trained on parts of the training events, or on bootstraps of them, and
their log ratios f_i are combined into ln r = w_0 + Σ_i w_i f_i with weights fitted to
all training events. The covariance of the weights is the uncertainty of the ratio that
is due to the finite number of simulated events. It is that of the combination, with the
members as given functions, and holds as far as some combination of the members is the
true ratio.

Source: Benevedes and Thaler, arXiv:2506.00113.
"""

from collections.abc import Sequence
from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Scalar

from diffana.errors import RESULTS
from diffana.nsbi.ensemble_weights import (
    EnsembleWeights as EnsembleWeights,
    fit_ensemble_weights as fit_ensemble_weights,
    fit_pool_weights as fit_pool_weights,
    influence as influence,
    joint_covariance as joint_covariance,
)
from diffana.nsbi.ratios import AbstractRatio, Ensemble, for_each_event
from diffana.numerics import as_float
from diffana.trainable import HELD


@final
class WeightedEnsemble(AbstractRatio):
    """Density ratio of fitted weights, which knows its uncertainty.

    Attributes:
        members: the ratios whose logarithms are combined.
        weights: one for the constant 1, then one for each member.
        covariance: of the weights.

    Example:
        >>> line = Exact(lambda x: 0.5 * x[0], lambda x: 0.0)
        >>> ratio = WeightedEnsemble((line,), [0.1, 2.0], [[0.04, 0.0], [0.0, 0.25]])
        >>> event = jnp.array([3.0])
        >>> float(ratio.log_ratio(event)), float(ratio.variance(event))
        (3.1, 0.6025)
    """

    members: Ensemble | tuple[AbstractRatio, ...]
    weights: Float[Array, " basis"] = eqx.field(converter=as_float, metadata=HELD)
    covariance: Float[Array, "basis basis"] = eqx.field(
        converter=as_float, metadata=HELD
    )

    def __check_init__(self):
        n_basis = 1 + (
            self.members.n_members
            if isinstance(self.members, Ensemble)
            else len(self.members)
        )
        if self.weights.shape != (n_basis,):
            raise ValueError(
                f"weighted ensemble: the weights have shape {self.weights.shape}, but "
                f"there are {n_basis - 1} members and a constant"
            )
        if self.covariance.shape != (n_basis, n_basis):
            raise ValueError(
                f"weighted ensemble: the covariance has shape {self.covariance.shape} "
                f"instead of ({n_basis}, {n_basis})"
            )

    @classmethod
    def of(
        cls, members: Ensemble | Sequence[AbstractRatio], found: EnsembleWeights
    ) -> "WeightedEnsemble":
        """Members with the weights fitted for them.

        Args:
            members: in the order of the basis that was fitted.
            found: the weights.

        Raises:
            EquinoxRuntimeError: if the fit of the weights is not certified.
        """
        found = found.result.error_if(found, found.result != RESULTS.successful)
        given = members if isinstance(members, Ensemble) else tuple(members)
        return cls(given, found.weights, found.covariance)

    def basis(self, features: Float[Array, " feature"]) -> Float[Array, " basis"]:
        """1, then the log ratio of every member, for one event."""
        return _basis(self.members, features)

    def log_ratio(self, features: Float[Array, " feature"]) -> Scalar:
        """Weighted sum over the basis."""
        return self.basis(features) @ self.weights

    def variance(self, features: Float[Array, " feature"]) -> Scalar:
        """Variance of the log ratio, due to the finite number of training events.

        It is fᵀ C f, and the covariance between two events f_aᵀ C f_b: events do not
        fluctuate independently of each other.
        """
        values = self.basis(features)
        return values @ self.covariance @ values


def basis_values(
    members: Ensemble | Sequence[AbstractRatio],
    features: Float[ArrayLike, "event feature"],
    *,
    batch: int = 2**13,
) -> Float[np.ndarray, "event basis"]:
    """1 and the log ratios of the members, for many events.

    Args:
        members: the ratios.
        features: of the events; may be mapped from a file, only a batch is in memory.
        batch: events evaluated at a time.

    Raises:
        DataError: if a log ratio is not finite; the message names the first such event.

    Example:
        >>> line = Exact(lambda x: x[0], lambda x: 0.0)
        >>> basis_values((line,), np.array([[0.5], [1.5]])).tolist()
        [[1.0, 0.5], [1.0, 1.5]]
    """
    given = members if isinstance(members, Ensemble) else tuple(members)
    return for_each_event(_basis, given, features, batch=batch)


def _basis(
    members: Ensemble | tuple[AbstractRatio, ...], features: Float[Array, " feature"]
) -> Float[Array, " basis"]:
    if isinstance(members, Ensemble):
        values = members.member_log_ratios(features)
    else:
        values = jnp.stack([one.log_ratio(features) for one in members])
    return jnp.concatenate([jnp.ones(1), values.astype(float)])

"""Confidence belts: critical values, and the inversion of a test with them."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from diffana.errors import FitError
from diffana.neyman.construction import Construction
from diffana.neyman.order_statistic import AbstractCriticalValues
from diffana.neyman.regions import Region, invert


_TIE = 1e-5


@final
class Belt(eqx.Module):
    """A test of every value of the parameter of interest, with critical values.

    Attributes:
        construction: the test.
        critical: its critical values.
        first: position on the grid of the lowest value that is tested.
        last: position of the highest one.
        guarantee: what is known about the coverage.
    """

    construction: Construction
    critical: AbstractCriticalValues
    first: int = eqx.field(static=True)
    last: int = eqx.field(static=True)
    guarantee: str = eqx.field(static=True)

    @property
    def tested(self) -> Float[np.ndarray, " tested"]:
        """The tested values."""
        return np.asarray(self.construction.grid.points)[self.first : self.last + 1]

    @property
    def critical_values(self) -> Float[np.ndarray, "level tested"]:
        """The critical values at the tested values, raised by 1e-5.

        Where data are counts, a toy may equal the data; it must not fall on the other
        side because its fit began elsewhere.
        """
        return self.critical(self.tested) + _TIE

    def statistic(self, data: PyTree[Array]) -> Float[np.ndarray, " tested"]:
        """The statistic of one data set at every tested value.

        Raises:
            FitError: if a fit is not certified.
        """
        one = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], data)
        found = self.construction.of(one)[0, self.first : self.last + 1]
        if np.isnan(found).any():
            raise FitError(
                "a fit to the data is not certified, or no value is possible"
            )
        return found

    def invert(self, data: PyTree[Array]) -> tuple[Region, ...]:
        """Confidence set of one data set at each level.

        Raises:
            FitError: as `statistic`.

        Example:
            >>> belt.invert(data)[0].segments
        """
        found, tested = self.statistic(data), self.tested
        return tuple(invert(tested, found, one) for one in self.critical_values)

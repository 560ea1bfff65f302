"""Components of an intensity: their yields and how they follow the parameters."""

from collections.abc import Mapping
from typing import final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from diffana.histfactory.interpolation import code4
from diffana.nsbi.morphs import AbstractMorph
from diffana.numerics import as_float


@final
class YieldMorph(eqx.Module):
    """Factors on an expected yield, with the interpolation code4.

    Attributes:
        parameters: names of the nuisance parameters.
        up: factor at α = 1 of each, > 0.
        down: factor at α = -1 of each, > 0.
    """

    parameters: tuple[str, ...] = eqx.field(static=True)
    up: Float[Array, " nuisance"] = eqx.field(converter=as_float)
    down: Float[Array, " nuisance"] = eqx.field(converter=as_float)

    def __check_init__(self):
        shape = (len(self.parameters),)
        if self.up.shape != shape or self.down.shape != shape:
            raise ValueError(
                f"yield factors have shapes {self.up.shape} and {self.down.shape}, but "
                f"there are {len(self.parameters)} parameters"
            )

    def __call__(self, values: Mapping[str, Scalar]) -> Scalar:
        """Product of the factors."""
        if not self.parameters:
            return jnp.ones(())
        alpha = jnp.stack([values[name] for name in self.parameters])
        return jnp.prod(code4(alpha, self.down, self.up))


@final
class Component(eqx.Module):
    """A shape in the intensity with its yield and its systematic uncertainties.

    Attributes:
        name: of the sample behind it.
        expected: nominal yield, in events; >= 0.
        yield_morph: how the yield follows nuisance parameters.
        shape_morphs: how the shape does.
        normalised: whether the shape is divided by its mean Z over the bank. Only for
            shapes whose normalisation is exact should it be switched off.
    """

    expected: Float[Array, ""] = eqx.field(converter=as_float)
    yield_morph: YieldMorph = YieldMorph((), (), ())  # pyright: ignore[reportArgumentType]
    shape_morphs: tuple[AbstractMorph, ...] = ()
    name: str = eqx.field(static=True, kw_only=True)
    normalised: bool = eqx.field(static=True, default=True, kw_only=True)

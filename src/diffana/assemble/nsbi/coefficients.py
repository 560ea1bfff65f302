"""What multiplies each component of an unbinned likelihood."""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np

from diffana import nsbi
from diffana.assemble.model import applies
from diffana.assemble.nsbi.events import Piece
from diffana.config import NsbiConfig
from diffana.errors import SpecificationError


# Power of each parameter -> coefficient.
_Monomial = tuple[tuple[str, int], ...]
_Polynomial = Mapping[_Monomial, float]


def coefficients(
    config: NsbiConfig, components: Sequence[Piece]
) -> nsbi.AbstractCoefficients:
    """The coefficients.

    Args:
        config: the configuration.
        components: what they multiply, those with couplings first.

    Raises:
        SpecificationError: if morphing points do not determine the intensity.
    """
    own = _of_couplings(config)
    coupled = [one for one in components if one.sample in own]
    others = [one for one in components if one.sample not in own]
    if components != [*coupled, *others]:
        raise ValueError("components with couplings have to come first")
    parts = []
    if coupled:
        parts.append(_coupled(config, own, coupled))
    if others:
        parts.append(_products(config, others))
    return nsbi.Stacked(tuple(parts))


def _coupled(
    config: NsbiConfig, own: Mapping[str, _Polynomial], components: Sequence[Piece]
) -> nsbi.AbstractCoefficients:
    plain = not any(
        one.is_negative or factors(config, one.sample) for one in components
    )
    if plain and config.interference is not None:
        return nsbi.Interference(config.interference.amplitude)
    return _morphing([_scaled(config, one, own[one.sample]) for one in components])


def _products(
    config: NsbiConfig, components: Sequence[Piece]
) -> nsbi.AbstractCoefficients:
    if not any(one.is_negative for one in components):
        return nsbi.Products(tuple(factors(config, one.sample) for one in components))
    one = {(): 1.0}
    polynomials = [_scaled(config, piece, one) for piece in components]
    return _morphing(polynomials, default=config.general.poi)


def factors(config: NsbiConfig, sample: str) -> tuple[str, ...]:
    """Norm factors of a sample."""
    return tuple(
        one.name for one in config.norm_factors or () if applies(one.samples, sample)
    )


def _of_couplings(config: NsbiConfig) -> Mapping[str, _Polynomial]:
    """Sample -> its coefficient as a polynomial in the couplings."""
    if config.interference is not None:
        section, name = config.interference, config.interference.amplitude
        none, linear, square = (), ((name, 1),), ((name, 2),)
        return {
            section.signal: {square: 1.0, linear: -1.0},
            section.total: {linear: 1.0},
            section.background: {none: 1.0, linear: -1.0},
        }
    if config.morphing is None:
        return {}
    section = config.morphing
    couplings = [one.name for one in section.couplings]
    built = nsbi.Morphing.through(
        couplings, powers=section.powers, points=np.array([*section.points.values()])
    )
    monomials = [_monomial(couplings, row) for row in section.powers]
    return {
        sample: dict(zip(monomials, column.tolist(), strict=True))
        for sample, column in zip(
            section.points, np.asarray(built.weights).T, strict=True
        )
    }


def _monomial(names: Sequence[str], powers: Sequence[int]) -> _Monomial:
    return tuple((name, n) for name, n in zip(names, powers, strict=True) if n)


def _scaled(config: NsbiConfig, piece: Piece, own: _Polynomial) -> _Polynomial:
    """A coefficient with norm factors, and the sign of the weights."""
    names = factors(config, piece.sample)
    sign = -1.0 if piece.is_negative else 1.0
    return {
        (*monomial, *((name, 1) for name in names)): sign * value
        for monomial, value in own.items()
    }


def _morphing(
    polynomials: Sequence[_Polynomial], default: str | None = None
) -> nsbi.Morphing:
    """Polynomials as coefficients.

    Args:
        polynomials: of each component.
        default: name of a parameter to name if there is none in them.
    """
    monomials = list(dict.fromkeys(one for row in polynomials for one in row))
    names = tuple(dict.fromkeys(name for one in monomials for name, _ in one))
    if not names and default is None:
        raise SpecificationError(
            "General.POI: is missing, but negative weights without any factor need it"
        )
    couplings = names or (str(default),)
    powers = tuple(
        tuple(dict(one).get(name, 0) for name in couplings) for one in monomials
    )
    weights = [[row.get(one, 0.0) for row in polynomials] for one in monomials]
    return nsbi.Morphing(couplings, powers, jnp.array(weights))

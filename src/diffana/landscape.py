"""Loss landscapes: several losses on a grid of parameters, and where each is lowest.

A point of the grid is whatever the caller makes of it: a template moved by some events,
a cut, the weights of a network along a direction. `filter_normalised` draws such a
direction.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray, PyTree, Scalar

from diffana.errors import RESULTS
from diffana.fit import Minimiser
from diffana.likelihood import AbstractLikelihood
from diffana.losses import AbstractLoss, LossValue, Scores, evaluate_all
from diffana.trainable import trainable


Point = Mapping[str, Scalar]
Build = Callable[[Point], tuple[AbstractLikelihood, tuple[Scores, ...]]]


class Minimum(NamedTuple):
    """Where a loss is lowest on the grid.

    Attributes:
        value: the lowest value.
        places: every point that shares it, as the values along the axes; one of them
            if the minimum is a point, many if it is a valley.
    """

    value: float
    places: Float[np.ndarray, "place axis"]


@final
class Landscape(eqx.Module):
    """Losses on a grid.

    Attributes:
        axis_names: names of the axes, in the order of the grid's dimensions.
        axis_values: values along each axis.
        loss_names: names of the losses, in the order they were given.
        values: each loss on the grid; nan where a fit behind it is not certified.
        result: for each loss, on the grid, why there is no value, or success.
    """

    axis_names: tuple[str, ...] = eqx.field(static=True)
    axis_values: tuple[Float[Array, " point"], ...]
    loss_names: tuple[str, ...] = eqx.field(static=True)
    values: dict[str, Float[Array, "..."]]
    result: dict[str, RESULTS]

    @property
    def axes(self) -> dict[str, Float[Array, " point"]]:
        """Values along each axis by name, in the order of the grid's dimensions."""
        return dict(zip(self.axis_names, self.axis_values, strict=True))

    def minimum(self, loss: str, tolerance: float = 1e-6) -> Minimum | None:
        """The lowest value of a loss and all points that have it.

        Args:
            loss: name of the loss.
            tolerance: how far above the lowest value a point may lie and share it, as a
                fraction of the range of the loss on the grid. The default is far
                above what a certified fit leaves open and below what a figure shows.

        Returns:
            The minimum; None if the loss has no value anywhere.

        Example:
            >>> good = jax.tree.map(lambda code: jnp.full(3, code), RESULTS.successful)
            >>> found = Landscape(
            ...     axis_names=("x",),
            ...     axis_values=(jnp.arange(3.0),),
            ...     loss_names=("f",),
            ...     values={"f": jnp.array([2.0, 1.0, 3.0])},
            ...     result={"f": good},
            ... )
            >>> found.minimum("f").value, found.minimum("f").places.tolist()
            (1.0, [[1.0]])
        """
        values = np.asarray(self.values[loss])
        if not np.any(np.isfinite(values)):
            return None
        lowest = np.nanmin(values)
        margin = tolerance * (np.nanmax(values) - lowest) + _rounding(values)
        shared = values <= lowest + margin
        places = [
            np.asarray(axis)[indices]
            for axis, indices in zip(self.axis_values, np.nonzero(shared), strict=True)
        ]
        return Minimum(float(lowest), np.stack(places, axis=-1))

    def normalised(self, loss: str) -> Float[np.ndarray, "..."]:
        """A loss mapped linearly to [0, 1] on the grid; 0 throughout if it is constant.

        Points without a value stay nan.
        """
        values = np.asarray(self.values[loss])
        if not np.any(np.isfinite(values)):
            return values
        height = values - np.nanmin(values)
        if np.nanmax(height) <= _rounding(values):
            return 0.0 * height
        return height / np.nanmax(height)

    def reasons(self, loss: str) -> np.ndarray:
        """Why there is no value, as text on the grid; empty where there is one."""
        (codes,) = jax.tree.leaves(self.result[loss])
        different, where = np.unique(np.asarray(codes), return_inverse=True)
        texts = [
            RESULTS[jax.tree.map(lambda _, c=code: jnp.asarray(c), RESULTS.successful)]
            for code in different
        ]
        return np.array(texts)[where.reshape(codes.shape)]

    def failures(self, loss: str) -> dict[str, int]:
        """How many points have no value, by reason."""
        texts = self.reasons(loss)
        reasons, counts = np.unique(texts[texts != ""], return_counts=True)
        return {
            str(reason): int(count)
            for reason, count in zip(reasons, counts, strict=True)
        }


def landscape(
    losses: Mapping[str, AbstractLoss],
    build: Build,
    axes: Mapping[str, Float[ArrayLike, " point"]],
    *,
    chunk: int = 64,
    minimiser: Minimiser | None = None,
    on_chunk: Callable[[int], None] = lambda n_done: None,
) -> Landscape:
    """Several losses on the grid that `axes` span; those of one point share its fits.

    One compiled program serves all chunks, and all later calls with losses and a
    `build` of the same structure, whatever the numbers in their arrays.

    Args:
        losses: the losses, by name.
        build: the likelihood at a point, and the scores of its events, which only
            losses of classification need. The point has one number for each axis, by
            name. An Equinox module or a `jax.tree_util.Partial` may hold other arrays
            from call to call without compiling again; a plain function may not.
        axes: values along each axis, by name; the grid holds every combination.
        chunk: points that are computed together, > 0; memory grows with it.
        minimiser: settings of the fits.
        on_chunk: called with the number of points done.

    Raises:
        ValueError: if there is no axis or no loss, or an axis is no row of numbers.

    Source: maps of this kind are in Simpson, PhD thesis (Lund 2023), section 7.5.1.

    Example:
        >>> import pyhf
        >>> from diffana.histfactory import from_model
        >>> from diffana.losses import SigmaMu
        >>> model = from_model(pyhf.simplemodels.uncorrelated_background(
        ...     signal=[5.0], bkg=[50.0], bkg_uncertainty=[5.0]))
        >>> def build(point):
        ...     nominal = model.templates.nominal.at[0].set(point["b"])
        ...     return eqx.tree_at(lambda m: m.templates.nominal, model, nominal), ()
        >>> axes = {"b": jnp.linspace(40.0, 60.0, 5)}
        >>> found = landscape({"sigma_mu": SigmaMu()}, build, axes)
        >>> found.minimum("sigma_mu").places.tolist()
        [[40.0]]
    """
    if not losses or not axes:
        raise ValueError("a landscape needs one loss and one axis, or more of them")
    rows = {name: np.asarray(row, float) for name, row in axes.items()}
    for name, row in rows.items():
        if row.ndim != 1 or row.size == 0:
            raise ValueError(f"values of axis {name!r} have shape {row.shape}")
    grids = np.meshgrid(*rows.values(), indexing="ij")
    points = {name: grid.ravel() for name, grid in zip(rows, grids, strict=True)}
    n_points = grids[0].size
    chunk = min(chunk, n_points)
    found = []
    for start in range(0, n_points, chunk):
        kept = min(chunk, n_points - start)
        # The last chunk is filled up: another shape would be compiled anew.
        filled = {
            name: jnp.asarray(
                np.pad(row[start : start + kept], (0, chunk - kept), "edge")
            )
            for name, row in points.items()
        }
        values = _on_points(dict(losses), build, filled, minimiser)
        found.append(jax.tree.map(lambda leaf, n=kept: np.asarray(leaf)[:n], values))
        on_chunk(start + kept)
    whole: dict[str, LossValue] = jax.tree.map(
        lambda *parts: jnp.asarray(np.concatenate(parts).reshape(grids[0].shape)),
        *found,
    )
    return Landscape(
        axis_names=tuple(rows),
        axis_values=tuple(jnp.asarray(row) for row in rows.values()),
        loss_names=tuple(losses),
        values={name: whole[name].value for name in losses},
        result={name: whole[name].result for name in losses},
    )


@eqx.filter_jit
def _on_points(
    losses: dict[str, AbstractLoss],
    build: Build,
    points: dict[str, Float[Array, " point"]],
    minimiser: Minimiser | None,
) -> dict[str, LossValue]:
    def one(point: dict[str, Scalar]) -> dict[str, LossValue]:
        likelihood, scores = build(point)
        return evaluate_all(losses, likelihood, scores, minimiser=minimiser)

    return jax.vmap(one)(points)


def _rounding(values: np.ndarray) -> float:
    """How much a constant loss may vary by rounding."""
    return 1e-12 * float(np.nanmax(np.abs(values)))


def filter_normalised(tree: PyTree, key: PRNGKeyArray) -> PyTree:
    """A random direction in which each neuron moves in proportion to its weights.

    Each row of a matrix, the weights that lead into one neuron, is normal noise scaled
    to the length of that row, so that directions compare between networks whose
    neurons have different scales. Biases and everything that is not trained stay.

    Args:
        tree: a network, or any tree of them.
        key: randomness of the direction.

    Returns:
        A tree like `tree`, zero where nothing moves and None for other leaves. Twice
        the direction is twice as far, and 1 is a change as large as the weights.

    Source: Li et al., arXiv:1712.09913, section 4.

    Example:
        >>> from diffana.observable import MLP
        >>> network = MLP(2, hidden=(3,), key=jax.random.key(0))
        >>> direction = filter_normalised(network, jax.random.key(1))
        >>> lengths = [jnp.linalg.norm(m.layers[0].weight, axis=1)
        ...            for m in (network, direction)]
        >>> bool(jnp.allclose(*lengths)), direction.layers[0].bias.tolist()
        (True, [0.0, 0.0, 0.0])
    """
    moving = eqx.filter(tree, trainable(tree))
    leaves, structure = jax.tree.flatten(moving)
    keys = jax.random.split(key, max(len(leaves), 1))
    drawn = [_drawn(leaf, one) for leaf, one in zip(leaves, keys, strict=False)]
    return structure.unflatten(drawn)


def _drawn(leaf: Array, key: PRNGKeyArray) -> Array:
    if leaf.ndim < 2:
        return jnp.zeros_like(leaf)
    noise = jax.random.normal(key, leaf.shape, leaf.dtype)

    def length(rows: Array) -> Array:
        inner = tuple(range(1, rows.ndim))
        return jnp.sqrt(jnp.sum(rows**2, axis=inner, keepdims=True))

    return noise * length(leaf) / length(noise)

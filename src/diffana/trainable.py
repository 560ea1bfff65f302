"""Which numbers of a module an optimiser may move.

A module declares the ones it may not move, the fitted scale of a feature or the
bandwidth that a schedule sets, where it declares the field:

    bandwidth: Float[Array, ""] = eqx.field(metadata=HELD)
"""

import dataclasses
import types
from collections.abc import Mapping

import equinox as eqx
import jax
from jaxtyping import PyTree


HELD: Mapping[str, bool] = types.MappingProxyType({"held": True})


def trainable(tree: PyTree) -> PyTree[bool]:
    """Mask of the leaves an optimiser may move.

    Args:
        tree: a module, or any tree of modules and arrays.

    Returns:
        The tree with True in place of each floating-point array and False in place of
        every other leaf and of everything below a field declared with `HELD`. It is the
        filter that `equinox.partition` and `optax.masked` want.

    Example:
        >>> from diffana.histogram import KeepAbove
        >>> mask = trainable(KeepAbove(column=0, threshold=25.0, slope=0.1))
        >>> mask.threshold, mask.slope
        (True, False)
    """
    if jax.tree_util.all_leaves([tree]):
        return eqx.is_inexact_array(tree)
    children, structure = jax.tree_util.tree_flatten_with_path(
        tree, is_leaf=lambda node: node is not tree
    )
    held = _held_fields(tree)
    return structure.unflatten(
        [
            jax.tree.map(lambda _: False, child)
            if getattr(path[0], "name", None) in held
            else trainable(child)
            for path, child in children
        ]
    )


def _held_fields(node: PyTree) -> frozenset[str]:
    if not isinstance(node, eqx.Module):
        return frozenset()
    fields = dataclasses.fields(node)
    return frozenset(field.name for field in fields if field.metadata.get("held"))

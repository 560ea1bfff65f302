"""Simulated events that everything learned in the study is learned from."""

from collections.abc import Mapping
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from diffana.data.toys import NUISANCES, SmearedMixture, interference_tables


class Simulated(NamedTuple):
    """Events of one problem.

    Attributes:
        features: of the events of each population.
        weights: of each component, for populations whose events stand for several.
    """

    features: Mapping[str, np.ndarray]
    weights: Mapping[str, Mapping[str, np.ndarray]]


def interference(n_events: int, seed: int) -> Simulated:
    """Events of B and NI, of moved NI, and a pool of S, SBI and B by their weights."""
    names = ["S", "B", "NI", "NI_up", "NI_down", "pool"]
    tables = interference_tables(n_events, seed, names)
    features = {
        name: np.stack([table[column] for column in "xyz"], axis=1)
        for name, table in tables.items()
    }
    shared = {name: tables["pool"][f"weight_{name}"] for name in ("S", "SBI", "B")}
    return Simulated(features, {"pool": shared})


def smeared(n_events: int, seed: int) -> Simulated:
    """Events that pass the selection: nominal ones, and each nuisance at ±1."""
    problem = SmearedMixture()
    features = {}
    for j, component in enumerate("SB"):
        for name, alpha in variations():
            random = np.random.default_rng([seed, len(features)])
            normal = problem.components(alpha)[j]
            found, n_found = [], 0
            while n_found < n_events:
                events = normal.sample(random, 2**18)
                events = events[np.asarray(_selected(problem, jnp.asarray(events)))]
                found.append(events)
                n_found += len(events)
            features[component + name] = np.concatenate(found)[:n_events]
    return Simulated(features, {})


def variations():
    """Suffix of a population and its nuisance parameters: nominal, up, down, ..."""
    eye = np.eye(len(NUISANCES))
    yield "", np.zeros(len(NUISANCES))
    for name, row in zip(NUISANCES, eye, strict=True):
        for side, sign in (("up", 1.0), ("down", -1.0)):
            yield f"_{name}_{side}", sign * row


@eqx.filter_jit
def _selected(problem, events):
    return jax.vmap(problem.selected)(events)

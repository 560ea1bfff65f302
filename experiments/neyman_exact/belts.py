"""Exact belts of a problem: critical values, lengths and coverage without toys."""

from typing import NamedTuple

import numpy as np

from diffana.neyman import FTS, LRS, Nodes, insured
from diffana.neyman.focus_objective import WorstRegret
from diffana.neyman.learned import learn_focus
from diffana.neyman.regions import is_accepted, lengths
from diffana.neyman.toy_table import ToyTable


LEVELS = (0.6826894921, 0.9544997361)


class ExactBelt(NamedTuple):
    """A belt at one level.

    Attributes:
        critical: critical values at the tested values.
        length: expected length of the set at each true value.
        coverage: at each true value.
    """

    critical: np.ndarray
    length: np.ndarray
    coverage: np.ndarray


def critical_values(statistic, probability, level):
    """Smallest value of the statistic whose distribution function reaches a level."""
    found = np.empty(len(probability))
    for place, row in enumerate(probability):
        order = np.argsort(statistic[:, place], kind="stable")
        total = np.cumsum(row[order])
        # Rounding of a sum must not move the quantile.
        at = min(np.searchsorted(total, level - 1e-12), order.size - 1)
        found[place] = statistic[order[at], place]
    return found


def exact_belt(problem, statistic, level):
    """The belt of a test statistic, given by its values for all data."""
    critical = critical_values(statistic, problem.probability, level)
    length = lengths(problem.mu, statistic, critical)
    accepted = is_accepted(statistic, critical)
    true = problem.true
    return ExactBelt(
        critical,
        problem.probability[true] @ length,
        np.einsum("td,dt->t", problem.probability[true], accepted[:, true]),
    )


def learned_focus(coarse, level, n_steps):
    """The focus whose largest regret at the true values is smallest."""
    every = np.arange(len(coarse.mu))
    whole = coarse._replace(true=every)
    reference = exact_belt(whole, whole.statistic(LRS()), level).length
    table = ToyTable.shared(coarse.mu, every, coarse.log_likelihood, coarse.probability)
    objective = WorstRegret(reference, np.isin(every, coarse.true))
    found = learn_focus(table, objective, level, n_steps=n_steps)
    return Nodes(found.mu, found.log_weight)


def all_belts(problem, coarse, n_steps):
    """Belts at every level of the likelihood ratio and of three focus functions."""
    lower, upper = problem.insured
    safe = insured(problem.focus, 0.1, lower=lower, upper=upper)
    found, focus = {}, {}
    for level in LEVELS:
        learned = learned_focus(coarse, level, n_steps)
        statistics = {
            "LRS": LRS(),
            "focus": FTS(problem.focus),
            "insured": FTS(safe),
            "learned": FTS(learned),
        }
        found[level] = {
            name: exact_belt(problem, problem.statistic(one), level)
            for name, one in statistics.items()
        }
        focus[level] = learned
    return found, focus

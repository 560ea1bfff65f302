"""Minima and second derivatives of pyhf's likelihood, to the last digits.

pyhf's minimisers leave errors that a finite difference over a template would magnify.
The Newton steps here use nothing but values of `pyhf.Model.logpdf`.
"""

import numpy as np
import pyhf


def twice_nll(model, params, data):
    return -2 * float(model.logpdf(params, data)[0])


def information(model, params, data, free, step=5e-3):
    """Half the Hessian of -2 ln L on the free parameters, to fourth order in `step`."""
    basis = np.eye(len(params))[free]

    def central(step):
        def nll(move):
            return 0.5 * twice_nll(model, params + step * move, data)

        matrix = np.empty((len(basis), len(basis)))
        for row, i in enumerate(basis):
            for column, j in enumerate(basis[: row + 1]):
                corners = nll(i + j) - nll(i - j) - nll(j - i) + nll(-i - j)
                matrix[row, column] = matrix[column, row] = corners / (4 * step**2)
        return matrix

    return (4 * central(step) - central(2 * step)) / 3


def minimum(model, data, *, held, start=None, hessian=None):
    """Lowest -2 ln L, its place and its Hessian, with the given parameters held.

    Args:
        model: a pyhf model.
        data: counts and auxiliary measurements.
        held: value at which the parameter of interest is held; None leaves it free.
        start: parameters near the minimum; left out, pyhf's fit supplies them.
        hessian: of a nearby minimum, to save its computation.
    """
    free = ~np.array(model.config.suggested_fixed())
    if start is None and held is None:
        start = pyhf.infer.mle.fit(data, model)
    elif start is None:
        start = pyhf.infer.mle.fixed_poi_fit(held, data, model)
    params = np.array(start, float)
    if held is not None:
        params[model.config.poi_index] = held
        free[model.config.poi_index] = False
    if hessian is None:
        hessian = 2 * information(model, params, data, free)
    moves = 1e-4 * np.eye(len(params))[free]
    for _ in range(6):
        slope = [
            twice_nll(model, params + move, data)
            - twice_nll(model, params - move, data)
            for move in moves
        ]
        step = np.linalg.solve(hessian, np.array(slope) / 2e-4)
        params[free] -= step
        # A step s lowers the value by about s^2, here by less than rounding.
        if np.max(np.abs(step)) < 1e-8:
            break
    return twice_nll(model, params, data), params, hessian

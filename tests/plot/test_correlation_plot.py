"""The correlation matrix as colours."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from diffana import plot


NAMES = ["mu", "jes", "lumi"]
MATRIX = np.array([[1.0, -0.5, 0.002], [-0.5, 1.0, -0.004], [0.002, -0.004, 1.0]])


def drawn(names=NAMES, matrix=MATRIX):
    with plot.style():
        figure = Figure()
        found = plot.correlation_matrix(names, matrix, ax=figure.add_subplot())
        figure.canvas.draw()
    return found


def test_cells_have_the_coefficients_from_the_top():
    found = drawn()
    np.testing.assert_array_equal(found.cells.get_array(), MATRIX)
    assert found.cells.get_clim() == (-1, 1)
    ax = found.cells.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == NAMES
    assert ax.get_ylim() == (3, 0)


def test_numbers_are_per_cent_without_negative_zero():
    texts = [text.get_text() for text in drawn().numbers]
    assert texts == ["100", "−50", "0", "−50", "100", "0", "0", "0", "100"]


def test_many_parameters_have_no_numbers():
    names = [f"p{i}" for i in range(16)]
    assert drawn(names, np.eye(16)).numbers == []


def test_another_shape_is_refused():
    with pytest.raises(ValueError, match="3 parameters, but a matrix of shape"):
        drawn(NAMES, np.eye(2))

"""Histograms of ROOT files."""

import pathlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from diffana.data.readers.root import opened
from diffana.data.table import close_matches
from diffana.errors import DataError


class Binned(NamedTuple):
    """A histogram of a file, without its under- and overflow.

    Attributes:
        edges: bin edges, in the unit of what was binned.
        sumw: events per bin.
        sumw2: variance of `sumw`.
    """

    edges: Float[np.ndarray, " edge"]
    sumw: Float[np.ndarray, " edge-1"]
    sumw2: Float[np.ndarray, " edge-1"]


def read_histogram(path: str | pathlib.Path, name: str) -> Binned:
    """A one-dimensional histogram of a ROOT file; needs the extra `root`.

    A histogram without sums of squared weights has variances equal to its values, as
    counts have.

    Args:
        path: the file.
        name: the histogram, with its folders: `SR/signal/nominal`.

    Raises:
        DataError: if the file is absent or damaged, or has no such histogram.
    """
    path = pathlib.Path(path)
    with opened(path) as file:
        classes = file.classnames(recursive=True, cycle=False)
        wanted = name.strip("/")
        kind = classes.get(wanted.split(";")[0])
        if kind is None:
            known = [key for key, one in classes.items() if one.startswith("TH")]
            raise DataError(
                f"{path}: no histogram {name!r}; {close_matches(wanted, known)}"
            )
        if not kind.startswith("TH1"):
            raise DataError(
                f"{path}: {name!r} is a {kind} and no one-dimensional histogram"
            )
        found = file[wanted]
        return Binned(
            np.asarray(found.axis().edges(), np.float64),
            np.asarray(found.values(), np.float64),
            np.asarray(found.variances(), np.float64),
        )

"""Histograms of a search for dark matter in xenon, from templates of alea-inference.

python -m experiments.neyman_lz.templates alea/examples/templates

The folder is that of the package alea-inference 0.3.5 (XENON collaboration, BSD
3-clause licence), whose templates h5py reads:

pip download --no-deps alea-inference==0.3.5
unzip alea_inference-0.3.5-py3-none-any.whl
"""

import argparse
import json
from pathlib import Path

import numpy as np


NUMBERS = Path(__file__).with_name("templates.json")
SOURCE = (
    "er_template and wimp50gev_template of alea-inference 0.3.5, copyright 2023 "
    "XENONnT Dark Matter experiment, BSD 3-clause licence; "
    "added up in bins of log10(s/b)"
)
# Electronic recoils, then accidental coincidences and signal per unit of mu, in events.
RECOILS = 333.0
SETTINGS = {"first": (1.0, 0.36), "second": (5.0, 0.42)}
N_BINS, LOWEST = 16, -3.5


def read(folder, name, key):
    """A template as a density in (cS1, cS2) that adds up to 1."""
    import h5py

    with h5py.File(folder / f"{name}.ii.h5") as file:
        counts = np.asarray(file["templates"][key], float)
    return counts / counts.sum()


def compressed(signal, background):
    """Both in equal bins of log10(s/b); what is below `LOWEST` is in the first.

    Nothing else of an event matters for a ratio of likelihoods, so that little is lost.
    """
    ratio = np.full(signal.shape, -np.inf)
    ratio[signal > 0] = np.log10(signal[signal > 0] / background[signal > 0])
    edges = np.linspace(LOWEST, ratio.max(), N_BINS + 1)
    place = np.clip(np.searchsorted(edges, ratio.ravel(), "right") - 1, 0, N_BINS - 1)
    return edges, *(
        np.bincount(place, one.ravel(), N_BINS) for one in (signal, background)
    )


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(argv)
    recoils = read(options.folder, "er_template", "er_template")
    wimps = read(options.folder, "wimp50gev_template", "wimp_template")
    found = {"source": SOURCE}
    for name, (accidentals, rate) in SETTINGS.items():
        signal = rate * wimps
        background = RECOILS * recoils + accidentals / recoils.size
        edges, *counts = compressed(signal, background)
        kept = (counts[0] ** 2 / counts[1]).sum() / (signal**2 / background).sum()
        found[name] = {
            "accidentals": accidentals,
            "signal": counts[0].round(6).tolist(),
            "background": counts[1].round(5).tolist(),
            "edges": edges.round(4).tolist(),
            "information kept": round(float(kept), 4),
        }
    NUMBERS.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()

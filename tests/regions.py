"""A workspace of two regions for tests of inference.

All its variants share their structure, and so their compiled programs: an uncertainty
that a variant has not is present with zero effect.
"""

import numpy as np


SIGNAL = np.array([6.0, 10.0])
TOP = np.array([50.0, 40.0])
FAKE = np.array([8.0, 5.0])
CONTROL = np.array([120.0])

# Which of the two kinds of uncertainty a workspace has.
COUNTING = {"morphed": 0.0, "counted": 1.0}
MORPHING = {"morphed": 1.0, "counted": 0.0}
EVERYTHING = {"morphed": 1.0, "counted": 1.0}


def workspace(observed, *, morphed, counted, mu_lower=0.0):
    """A signal and a control region; the two numbers scale the uncertainties."""

    def modifier(kind, name, data=None):
        return {"type": kind, "name": name, "data": data}

    def norm(name, hi, lo):
        return modifier(
            "normsys", name, {"hi": 1 + morphed * hi, "lo": 1 - morphed * lo}
        )

    def shape(name, nominal, hi, lo):
        hi_data, lo_data = (
            nominal * (1 + morphed * np.array(change)) for change in (hi, lo)
        )
        return modifier(
            "histosys", name, {"hi_data": list(hi_data), "lo_data": list(lo_data)}
        )

    def stat(name, uncertainties):
        return modifier("staterror", name, list(morphed * np.array(uncertainties)))

    def sample(name, data, *modifiers):
        return {"name": name, "data": list(data), "modifiers": list(modifiers)}

    signal_region = [
        sample("signal", SIGNAL, modifier("normfactor", "mu"), norm("scale", 0.1, 0.1)),
        sample(
            "top",
            TOP,
            norm("scale", 0.05, 0.04),
            shape("tagging", TOP, [0.08, -0.05], [-0.1, 0.06]),
            stat("stat_SR", [2.5, 2.0]),
        ),
        sample("fake", FAKE, modifier("shapesys", "fakes", list(counted * 0.3 * FAKE))),
    ]
    control_region = [
        sample(
            "top",
            CONTROL,
            norm("xsec", 0.1, 0.09),
            shape("tagging", CONTROL, [0.1], [-0.1]),
            stat("stat_CR", [4.0]),
        )
    ]
    return {
        "version": "1.0.0",
        "channels": [
            {"name": "SR", "samples": signal_region},
            {"name": "CR", "samples": control_region},
        ],
        "observations": [
            {"name": "SR", "data": list(observed[:2])},
            {"name": "CR", "data": list(observed[2:])},
        ],
        "measurements": [
            {
                "name": "measurement",
                "config": {
                    "poi": "mu",
                    "parameters": [{"name": "mu", "bounds": [[mu_lower, 10.0]]}],
                },
            }
        ],
    }

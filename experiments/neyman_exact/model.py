"""The on/off measurement as a model of the library."""

from diffana.histfactory import from_workspace
from experiments.neyman_exact.problems import TAU


def on_off_model():
    """Of n ~ Poisson(mu + nu) and m ~ Poisson(tau nu); data are m, n."""

    def factor(name):
        return {"type": "normfactor", "name": name, "data": None}

    def sample(name, value, parameter):
        return {"name": name, "data": [value], "modifiers": [factor(parameter)]}

    off = [sample("background", TAU, "nu")]
    on = [sample("signal", 1.0, "mu"), sample("background", 1.0, "nu")]
    parameters = [
        {"name": name, "inits": [1.0], "bounds": [[0.0, 1000.0]]}
        for name in ("mu", "nu")
    ]
    workspace = {
        "version": "1.0.0",
        "channels": [{"name": "CR", "samples": off}, {"name": "SR", "samples": on}],
        "observations": [{"name": name, "data": [1.0]} for name in ("CR", "SR")],
        "measurements": [
            {"name": "m", "config": {"poi": "mu", "parameters": parameters}}
        ],
    }
    return from_workspace(workspace)[0]

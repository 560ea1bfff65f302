import equinox as eqx
import numpy as np
import pytest


def _modifier(kind, name, data=None):
    return {"type": kind, "name": name, "data": data}


def _varied(kind, name, yields, up, down):
    yields = np.asarray(yields)
    data = {"hi_data": list(yields * up), "lo_data": list(yields * down)}
    return _modifier(kind, name, data)


def _sample(name, data, *modifiers):
    return {"name": name, "data": list(data), "modifiers": list(modifiers)}


def _workspace(channels, poi="mu", parameters=()):
    channels = [{"name": n, "samples": samples} for n, samples in channels.items()]
    observations = [
        {
            "name": channel["name"],
            # Next to the expected numbers of events, and not whole.
            "data": [
                round(1.1 * sum(column), 1)
                for column in zip(*(s["data"] for s in channel["samples"]), strict=True)
            ],
        }
        for channel in channels
    ]
    config = {"poi": poi, "parameters": list(parameters)}
    return {
        "version": "1.0.0",
        "channels": channels,
        "observations": observations,
        "measurements": [{"name": "measurement", "config": config}],
    }


def _everything():
    """Every type of modifier, names shared between types, samples and channels."""
    mu = _modifier("normfactor", "mu")
    lumi = _modifier("lumi", "lumi")
    signal, top = [5.0, 11.0, 8.0], [50.0, 52.0, 31.5]
    fake, other = [12.0, 7.0, 4.0], [3.0, 2.0, 1.0]
    return {
        "SR": [
            _sample(
                "signal",
                signal,
                mu,
                lumi,
                _modifier("normsys", "energy scale", {"hi": 1.12, "lo": 0.93}),
                _modifier("staterror", "staterror_SR", [0.5, 0.7, 0.4]),
            ),
            _sample(
                "top",
                top,
                lumi,
                _varied("histosys", "energy scale", top, [1.1, 1.0, 0.9], [0.8, 1, 1]),
                _varied("histosys", "tagging", top, [1.2, 1.1, 1.0], [0.9, 0.9, 1.1]),
                _modifier("normsys", "cross section", {"hi": 1.05, "lo": 0.96}),
                _modifier("staterror", "staterror_SR", [2.5, 1.7, 2.4]),
            ),
            _sample(
                "fake",
                fake,
                _modifier("shapefactor", "fake shape"),
                _modifier("shapesys", "fake rate", [3.0, 1.5, 1.0]),
            ),
            _sample("other", other),
        ],
        "CR": [
            _sample(
                "top",
                [310.0, 205.0],
                lumi,
                _modifier("normfactor", "mu_top"),
                _varied("histosys", "energy scale", [310, 205], [1.1, 1], [0.8, 1.2]),
                _modifier("normsys", "energy scale", {"hi": 1.02, "lo": 0.99}),
                _modifier("normsys", "cross section", {"hi": 1.05, "lo": 0.96}),
                _modifier("staterror", "staterror_CR", [11.0, 9.0]),
            ),
            _sample(
                "fake", [20.0, 30.0], _modifier("shapesys", "fake rate CR", [5.0, 4.0])
            ),
        ],
        "VR": [
            _sample("fake", fake, _modifier("shapefactor", "fake shape"), mu),
            _sample("other", other),
        ],
    }


_LUMI = {
    "name": "lumi",
    "auxdata": [1.02],
    "inits": [1.01],
    "sigmas": [0.02],
    "bounds": [[0.9, 1.1]],
}

_OVERRIDES = (
    {**_LUMI, "fixed": True},
    {"name": "mu", "inits": [0.5], "bounds": [[-2.0, 7.0]]},
    {"name": "energy scale", "auxdata": [0.3], "inits": [0.1], "bounds": [[-3, 3]]},
    {"name": "staterror_CR", "sigmas": [0.1, 0.2], "auxdata": [1.1, 0.9]},
    {"name": "staterror_SR", "fixed": True, "bounds": [[0.1, 2]] * 3},
    {"name": "fake rate", "factors": [10.0, 20.0, 30.0]},
    {"name": "fake rate CR", "auxdata": [17.0, 50.0], "inits": [1.1, 0.9]},
)


def _vanishing():
    """Bins without yield, and bins without uncertainty."""
    stat = "staterror_SR"
    return {
        "SR": [
            _sample("signal", [5.0, 0.0, 0.0], _modifier("normfactor", "mu")),
            _sample(
                "top",
                [50.0, 0.0, 20.0],
                _modifier("shapesys", "shape", [5.0, 1.0, 0.0]),
                _modifier("staterror", stat, [0.0, 0.0, 3.0]),
            ),
            _sample("fake", [7.0, 0.0, 1.0], _modifier("staterror", stat, [0, 2.0, 1])),
        ]
    }


def _joint_staterror():
    """One `staterror` over two channels that another one lies between."""
    return {
        name: [
            _sample(
                "signal", np.multiply(scale, [2.0, 3.0]), _modifier("lumi", "lumi")
            ),
            _sample("top", np.multiply(scale, [20.0, 30.0]), *modifiers),
        ]
        for name, scale, modifiers in (
            ("C", 1.0, [_modifier("staterror", "stat", [2.0, 1.0])]),
            ("B", 2.0, [_modifier("normfactor", "norm")]),
            ("A", 3.0, [_modifier("staterror", "stat", [3.0, 4.0])]),
        )
    }


def _workspaces():
    """Workspaces which between them use all that a specification can hold."""
    return {
        "everything": _workspace(_everything(), parameters=[_LUMI]),
        "overrides": _workspace(_everything(), parameters=_OVERRIDES),
        "vanishing": _workspace(_vanishing()),
        "joint staterror": _workspace(_joint_staterror(), "", [_LUMI]),
        "free": _workspace(
            {"SR": [_sample("signal", [5.0], _modifier("normfactor", "mu"))]}
        ),
    }


@pytest.fixture
def workspaces():
    return _workspaces()


@pytest.fixture
def everything():
    return _workspaces()["everything"]


@pytest.fixture(scope="session")
def workspace_of_everything():
    """For hypothesis, which accepts no fixture that is made anew for each example."""
    return _workspaces()["everything"]


@pytest.fixture(scope="session")
def twice_nll():
    return eqx.filter_jit(lambda model, params, data: model.twice_nll(params, data))

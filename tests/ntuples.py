"""ROOT ntuples, and configurations of them that cabinetry understands, too."""

import numpy as np
import pyhf
import uproot


REGION_PATHS = ("R1", "R2")
SAMPLE_PATHS = ("s1", "s2", "s3", "data")
N_EVENTS = 220


def plant(folder, seed=0):
    """One file for each region path and sample path, with two trees."""
    random = np.random.default_rng(seed)
    for region in REGION_PATHS:
        for sample in SAMPLE_PATHS:
            with uproot.recreate(folder / f"{region}_{sample}.root") as file:
                for tree in ("nominal", "folder/varied"):
                    columns = {
                        "a": random.normal(0.2, 1.0, N_EVENTS),
                        "b": random.exponential(1.0, N_EVENTS).astype(np.float32),
                        "n": random.integers(0, 7, N_EVENTS, dtype=np.int32),
                        "w": random.uniform(-0.3, 1.0, N_EVENTS),
                        "w_up": random.uniform(-0.2, 1.4, N_EVENTS),
                    }
                    # Events without a value of what is binned are in no bin.
                    columns["a"][:3] = np.nan
                    kinds = {name: column.dtype for name, column in columns.items()}
                    file.mktree(tree, kinds)
                    # Several baskets, so that reading in pieces is put to the test.
                    for start in range(0, N_EVENTS, 90):
                        part = slice(start, start + 90)
                        file[tree].extend({k: v[part] for k, v in columns.items()})


_BINNING = {
    "a": ([-1, 0, 1, 2], [-0.5, 0.5], [-2.0, -0.25, 0.0, 0.5, 2.5]),
    "b": ([0.0, 0.5, 1.5], [0.25, 3.0], [0.0, 1.0, 2.0, 3.0]),
    # The upper edge is a value that events have.
    "n": ([0, 1, 2, 4], [0, 3], [1, 2, 5, 6]),
    "2*b + n": ([0.0, 3.0, 6.0], [1.0, 6.0], [0.0, 2.0, 4.0, 8.0]),
}
_FILTERS = ("b > 0.2", "n != 3", "(b > 0.1) & (n < 6)", "w > -0.1", "b*n >= 0.25")
_WEIGHTS = ("w", "0.5", "w*w_up", "w_up", "abs(w)")


def configuration(folder, seed):
    """A random configuration in cabinetry's spelling, as a document."""
    random = np.random.default_rng(seed)

    def maybe(probability=0.5):
        return random.random() < probability

    def one_of(options):
        return options[random.integers(len(options))]

    by_region = maybe()
    region_part = "{RegionPath}" if by_region else "R1"
    variable = [*_BINNING][random.integers(len(_BINNING))]
    regions = []
    for name in ("SR", "CR", "VR")[: 2 + maybe(0.3)]:
        variable = one_of([*_BINNING])
        region = {"Name": name, "Variable": variable}
        region["Binning"] = one_of(_BINNING[variable])
        if maybe():
            region["Filter"] = one_of(_FILTERS)
        if by_region:
            region["RegionPath"] = one_of(REGION_PATHS)
        regions.append(region)
    samples = [{"Name": "observed", "Tree": "nominal", "SamplePath": "data"}]
    samples[0]["Data"] = True
    for i, name in enumerate(("signal", "background", "other")[: 2 + maybe()]):
        sample = {"Name": name, "Tree": "nominal", "SamplePath": SAMPLE_PATHS[i]}
        if maybe(0.2):
            sample["SamplePath"] = one_of((["s1", "s3"], "s?", ["s2"]))
        if maybe(0.3):
            sample["Filter"] = one_of(_FILTERS)
        if maybe(0.8):
            sample["Weight"] = one_of(_WEIGHTS)
        if maybe(0.3):
            sample["DisableStaterror"] = True
        if maybe(0.2):
            sample["Regions"] = one_of(("SR", ["SR", "CR"]))
        samples.append(sample)
    names = [sample["Name"] for sample in samples[1:]]

    def scope(options):
        return one_of(options) if maybe() else [*options]

    def template():
        found = {}
        for key, options in (
            ("SamplePath", ("s3", ["s2", "s3"], "s1")),
            ("Tree", ("folder/varied",)),
            ("Weight", _WEIGHTS),
            ("Filter", _FILTERS),
            ("Variable", ("b", "n", "b + 0.1*n")),
            *([("RegionPath", REGION_PATHS)] if by_region else []),
        ):
            if maybe(0.35):
                found[key] = one_of(options)
        return found

    systematics = []
    for i in range(1 + random.integers(4)):
        systematic = {"Name": f"syst_{i}", "Samples": scope(names)}
        if maybe(0.4):
            systematic["Regions"] = scope([region["Name"] for region in regions])
        if maybe(0.2):
            systematic["ModifierName"] = f"parameter_{i}"
        if maybe(0.25):
            size = float(random.uniform(0.01, 0.3))
            systematic |= {"Type": "Normalization", "Up": {"Normalization": size}}
            systematic["Down"] = {"Normalization": -0.5 * size}
        else:
            systematic |= {"Type": "NormPlusShape", "Up": template()}
            systematic["Down"] = {"Symmetrize": True} if maybe(0.4) else template()
        systematics.append(systematic)
    factors = [{"Name": "mu", "Samples": "signal", "Nominal": 1, "Bounds": [0, 8]}]
    if maybe():
        factors.append({"Name": "k", "Samples": "background", "Regions": "CR"})
    general = {
        "Measurement": "random",
        "POI": "mu",
        "HistogramFolder": str(folder / f"histograms_{seed}"),
        "InputPath": f"{folder}/{region_part}_{{SamplePath}}.root",
    }
    if maybe(0.3) and "ModifierName" not in systematics[0]:
        general["Fixed"] = [{"Name": "syst_0", "Value": 0.5}]
    return {
        "General": general,
        "Regions": regions,
        "Samples": samples,
        "NormFactors": factors,
        "Systematics": systematics,
    }


def assert_same_workspace(ours, theirs, rtol=1e-10):
    """Equal but for the order of modifiers and the spelling of defaults.

    Yields are sums of some hundred weights: a tolerance of 1e-10 is six orders above
    what another order of summation can change.
    """

    def close(mine, other):
        scale = max(np.max(np.abs(other)), 1e-3)
        np.testing.assert_allclose(mine, other, rtol=rtol, atol=rtol * 1e-2 * scale)

    assert [c["name"] for c in ours["channels"]] == [
        c["name"] for c in theirs["channels"]
    ]
    for mine, other in zip(ours["channels"], theirs["channels"], strict=True):
        assert [s["name"] for s in mine["samples"]] == [
            s["name"] for s in other["samples"]
        ]
        for own, their in zip(mine["samples"], other["samples"], strict=True):
            close(own["data"], their["data"])
            found, expected = (
                {(m["type"], m["name"]): m["data"] for m in sample["modifiers"]}
                for sample in (own, their)
            )
            assert found.keys() == expected.keys()
            assert len(own["modifiers"]) == len(their["modifiers"])
            for key, data in expected.items():
                if isinstance(data, dict):
                    assert found[key].keys() == data.keys()
                    for side, values in data.items():
                        close(found[key][side], values)
                elif data is None:
                    assert found[key] is None
                else:
                    close(found[key], data)
    assert ours["observations"] == theirs["observations"]
    (mine,), (other,) = ours["measurements"], theirs["measurements"]
    assert mine["name"] == other["name"]
    assert mine["config"]["poi"] == other["config"]["poi"]
    with np.errstate(invalid="ignore"):
        # Where a mirror image has less than no yield.
        models = [pyhf.Workspace(one).model() for one in (ours, theirs)]
    configs = [model.config for model in models]
    for attribute in ("par_order", "parameters", "poi_name"):
        assert getattr(configs[0], attribute) == getattr(configs[1], attribute)
    for method in ("suggested_init", "suggested_bounds", "suggested_fixed"):
        mine, other = (np.asarray(getattr(one, method)()) for one in configs)
        np.testing.assert_array_equal(mine, other)

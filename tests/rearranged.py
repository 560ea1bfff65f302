"""Workspaces that say the same as another one in different words."""

import numpy as np


def split(workspace, channel_name, sample_name, fraction):
    """The workspace with one sample dealt into two, its statistical error included."""

    def scaled(sample, name, share):
        def scale(values, factor):
            return [value * factor for value in values]

        def modifier(entry):
            data = entry["data"]
            if entry["type"] == "histosys":
                data = {key: scale(values, share) for key, values in data.items()}
            if entry["type"] == "staterror":
                # Independent events: variances add.
                data = scale(data, np.sqrt(share))
            return {**entry, "data": data}

        return {
            "name": name,
            "data": scale(sample["data"], share),
            "modifiers": [modifier(entry) for entry in sample["modifiers"]],
        }

    channels = []
    for channel in workspace["channels"]:
        samples = []
        for sample in channel["samples"]:
            if (channel["name"], sample["name"]) == (channel_name, sample_name):
                samples.append(scaled(sample, "first half", fraction))
                samples.append(scaled(sample, "second half", 1 - fraction))
            else:
                samples.append(sample)
        channels.append({**channel, "samples": samples})
    return {**workspace, "channels": channels}


def shuffled(workspace, seed):
    """The workspace with channels, observations, samples and modifiers in any order."""
    rng = np.random.default_rng(seed)

    def permuted(entries):
        return [entries[at] for at in rng.permutation(len(entries))]

    def sample(entry):
        return {**entry, "modifiers": permuted(entry["modifiers"])}

    def channel(entry):
        return {**entry, "samples": [sample(s) for s in permuted(entry["samples"])]}

    return {
        **workspace,
        "channels": [channel(c) for c in permuted(workspace["channels"])],
        "observations": permuted(workspace["observations"]),
    }


def reordered(params, names, wanted):
    """`params`, which are in the order of `names`, in the order of `wanted`."""
    assert sorted(names) == sorted(wanted)
    return params[np.array([names.index(name) for name in wanted])]

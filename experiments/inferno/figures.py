"""Figures of INFERNO's benchmark."""

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from diffana.plot import palette, style
from experiments.inferno.benchmark import NOMINAL, PUBLISHED


TIME = 1 / 3  # the exponential variable in the map: the mean of the background


def draw(folder, rows, references, kept):
    """Write all figures into `folder`."""
    last = max(rows["10 bins"])
    with style():
        table, summary, plane = Figure(figsize=(6.8, 3.0)), Figure(), Figure()
        uncertainties(rows, references, ax=table.add_subplot())
        network, shapes = kept["10 bins", last]
        distributions(shapes, ax=summary.add_subplot())
        summary.axes[0].set_title(f"benchmark {last}", loc="right")
        bins(network, ax=plane.add_subplot())
        plane.axes[0].set_title(f"benchmark {last}", loc="right")
        names = {"uncertainties": table, "summary": summary, "bins": plane}
        for name, figure in names.items():
            figure.savefig(folder / f"{name}.png")


def uncertainties(rows, references, *, ax):
    """σ of s in every benchmark: published rows, ours with all seeds, the floor."""
    colours = palette(["INFERNO", "30 bins", "classifier"], ["10 bins"], ["analytical"])
    places = sorted(rows["10 bins"])
    published = {
        "classifier": np.array(PUBLISHED["NN classifier"]),
        "INFERNO": np.array([PUBLISHED[f"INFERNO {at}"][at] for at in range(5)]),
    }
    for name, row in published.items():
        for at in places:
            shift = OFFSET[name]
            ax.plot(
                [at + shift - 0.05],
                [row[at]],
                color=colours[name],
                ls="",
                marker="s",
                mfc="white",
                ms=5,
                label=f"{name}, published" if at == places[0] else None,
            )
    for name, row in rows.items():
        for at in places:
            values = np.array(row.get(at, row[min(row)]))[:, at]
            ax.plot(
                at + OFFSET[name] + 0.05 + 0.015 * np.arange(len(values)),
                values,
                color=colours[name],
                ls="",
                marker=".",
                ms=5,
                label=f"{LABEL[name]}, each seed" if at == places[0] else None,
            )
    for at in places:
        ax.hlines(
            references["analytical"][at],
            at - 0.4,
            at + 0.4,
            color=colours["analytical"],
            label="unbinned likelihood" if at == places[0] else None,
        )
    ax.set(xlabel="Benchmark", ylabel=r"Expected uncertainty of $s$ [events]")
    ax.set_yscale("log")
    ticks = [15, 16, 17, 18, 20, 22, 25, 28]
    ax.set_yticks(ticks, [str(tick) for tick in ticks])
    ax.set_yticks([], minor=True)
    ax.set_xticks(places, [str(at) for at in places])
    ax.tick_params(axis="x", which="minor", bottom=False, top=False)
    ax.set_ylim(14.2, 34)
    ax.legend(ncols=3, loc="upper left")


OFFSET = {"classifier": -0.3, "INFERNO": -0.12, "10 bins": 0.08, "30 bins": 0.26}
LABEL = {
    "classifier": "classifier",
    "INFERNO": "INFERNO's loss",
    "10 bins": "ours, 10 bins",
    "30 bins": "ours, 30 bins",
}


def distributions(shapes, *, ax):
    """Expected events per learned bin, in the order of the share of signal."""
    s, _, _, b = NOMINAL
    signal, background = s * np.array(shapes.signal), b * np.array(shapes.background)
    order = np.argsort(signal / background)
    edges = np.arange(len(order) + 1)
    colours = palette(["background"], ["signal"], ["r", "rate"])
    total = background[order] + signal[order]
    ax.stairs(total, edges, fill=True, color=colours["signal"], label="signal")
    ax.stairs(
        background[order],
        edges,
        fill=True,
        color=colours["background"],
        label="background",
    )
    for i, (name, text) in enumerate(
        (("r", "$r$ ± 0.2"), ("rate", r"$\lambda$ ± 0.5"))
    ):
        for j, moved in enumerate((shapes.up, shapes.down)):
            ax.stairs(
                s * np.array(shapes.signal)[order] + b * np.array(moved[i])[order],
                edges,
                color=colours[name],
                lw=1,
                ls=("-", "--")[j],
                label=None if j else text,
            )
    ax.set_yscale("log")
    ax.set(
        xlabel="Learned bin, by share of signal",
        ylabel="Expected events",
        xlim=(0, len(order)),
    )
    ax.set_ylim(top=total.max() * 8)
    ax.set_xticks(edges[:-1] + 0.5, [str(i + 1) for i in range(len(order))])
    ax.tick_params(axis="x", which="both", length=0)
    ax.legend(ncols=2)


def bins(network, *, ax):
    """Which bin an event of the plane falls into, at the mean of the third variable."""
    x, y = np.linspace(-5, 9, 281), np.linspace(-7, 7, 281)
    events = np.stack(
        [*(a.ravel() for a in np.meshgrid(x, y)), np.full(x.size * y.size, TIME)], 1
    )
    index = np.array(jnp.argmax(jax.vmap(network)(jnp.asarray(events)), axis=1))
    _, rank = np.unique(index, return_inverse=True)
    ax.pcolormesh(
        x,
        y,
        rank.reshape(len(y), len(x)),
        cmap="viridis",
        rasterized=True,
    )
    ax.set(xlabel="$x_0$", ylabel="$x_1$")

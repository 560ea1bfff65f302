# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Landscapes: do the losses want the same?
#
# A likelihood with two bins and one nuisance parameter is small enough to look at every
# loss everywhere. The question: if training could choose the up and down templates
# freely, where would each loss take them? The model is that of section 7.5.1 of N.
# Simpson's thesis (Lund, 2023).

# %%
import equinox as eqx
import jax
import matplotlib.pyplot as plt
import numpy as np

from diffana import plot
from diffana.histfactory import from_workspace
from diffana.landscape import landscape
from diffana.losses import P0, AsimovSignificance, Cls, LogGeneralisedVariance, SigmaMu


jax.config.update("jax_enable_x64", True)

# %% tags=["parameters"]
POINTS = 41

# %% [markdown]
# ## The model
#
# Signal sits mostly in the second bin, on a flat background. The nuisance parameter
# moves background between the bins.

# %%
flat = [50.0, 50.0]
shape = {
    "name": "shape",
    "type": "histosys",
    "data": {"hi_data": flat, "lo_data": flat},
}
model, _ = from_workspace(
    {
        "version": "1.0.0",
        "channels": [
            {
                "name": "two_bins",
                "samples": [
                    {
                        "name": "signal",
                        "data": [5.0, 11.0],
                        "modifiers": [
                            {"name": "mu", "type": "normfactor", "data": None}
                        ],
                    },
                    {"name": "background", "data": flat, "modifiers": [shape]},
                ],
            }
        ],
        "observations": [{"name": "two_bins", "data": flat}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    }
)

# %% [markdown]
# A point of the landscape: the up template has u events more in the first bin and u
# fewer in the second, the down template the opposite by d. At u = d = 0 there is no
# uncertainty. Where u = −d, up and down are the same template.


# %%
def build(point):
    """The likelihood at a point; there are no events behind it."""
    direction = np.array([1.0, -1.0])
    up = np.array(flat) + point["u"] * direction
    down = np.array(flat) - point["d"] * direction
    moved = eqx.tree_at(
        lambda m: (m.templates.histosys_hi, m.templates.histosys_lo), model, (up, down)
    )
    return moved, ()


# %%
with plot.style():
    figure, axes = plt.subplots(1, 3, figsize=(6.8, 2.2), sharey=True)
    for ax, (u, d) in zip(axes, ((0, 0), (8, 8), (8, -8))):
        templates = build({"u": float(u), "d": float(d)})[0].templates
        edges = np.arange(3) + 0.5
        ax.stairs(flat, edges, fill=True, color="#92dadb", label="background")
        ax.stairs(templates.histosys_hi, edges, color="#832db6", lw=2, label="up")
        ax.stairs(templates.histosys_lo, edges, color="#e76300", ls="--", label="down")
        ax.stairs([5.0, 11.0], edges, color="#bd1f01", label="signal")
        ax.set(xlabel="Bin", xticks=[1, 2], ylim=(0, 85))
        ax.xaxis.minorticks_off()
        plot.label(f"u = {u}, d = {d}", ax=ax)
    axes[0].set_ylabel("Events / bin")
    axes[2].legend(ncols=2)
    plt.show()

# %% [markdown]
# ## Every loss everywhere
#
# All losses at a point share its fits, and one compiled program serves all points. A
# loss that rests on a fit without certificate has no value there.

# %%
losses = {
    "CL$_s$": Cls(log=False),
    "$p_0$": P0(log=False),
    "$σ_μ$": SigmaMu(),
    "ln det covariance": LogGeneralisedVariance(),
    "$-Z_A$, no syst.": AsimovSignificance(),
    "CL$_s$ + $p_0$": Cls(log=False) + P0(log=False),
}
grid = np.linspace(-10, 10, POINTS)
found = landscape(losses, build, {"u": grid, "d": grid})
for name in losses:
    lowest, failures = found.minimum(name), found.failures(name)
    print(f"{name.replace('$', ''):18} lowest {lowest.value:8.4f}", end="")
    print(f" at {len(lowest.places)} of {POINTS**2} points; ", end="")
    print(f"{sum(failures.values())} without a value")

# %%
with plot.style():
    figure, axes = plt.subplots(2, 3, figsize=(9.0, 5.2))
    for ax, name in zip(axes.flat, losses):
        plot.landscape_map(
            grid,
            grid,
            found.values[name],
            minima=found.minimum(name).places,
            name=name,
            x_name="u [events]",
            y_name="d [events]",
            target=(0.0, 0.0),
            ax=ax,
        )
    plt.show()

# %% [markdown]
# Red: where the loss is lowest. The cross is the point without uncertainty.
#
# * σ_μ looks at small shifts only. Along u = −d, where up and down are one template,
# there are none to first order.
# * CLs leaves this valley for large u: there any shift lowers the background in the
# second bin, which makes room for a signal that is not in the data. p0 leaves it at the
# other end, where any shift raises the background there and explains a signal away.
# Their sum has both ends closed.
# * The determinant of the covariance counts the nuisance parameter, too, and is lowest
# where the data constrain that one best.
# * The counting significance knows of no nuisance parameter.

# %% [markdown]
# ## Side by side
#
# Each loss mapped to the range from 0 to 1: the contour around its lowest tenth.

# %%
with plot.style():
    figure, ax = plt.subplots(figsize=(3.6, 4.0))
    plot.landscape_comparison(
        {"u [events]": grid, "d [events]": grid},
        {name: found.normalised(name) for name in losses},
        minima={name: found.minimum(name).places for name in losses},
        ax=ax,
    )
    plt.show()

# %% [markdown]
# ## Along the symmetric line
#
# With u = d the variation is symmetric, as it is for most uncertainties. CLs, p0, σ_μ
# and their sums agree: the uncertainty should vanish. The determinant wants the
# opposite.


# %%
def symmetric(point):
    """The likelihood on the line u = d."""
    return build({"u": point["s"], "d": point["s"]})


line = landscape(losses, symmetric, {"s": grid})
with plot.style():
    figure, ax = plt.subplots(figsize=(3.6, 3.4))
    plot.landscape_comparison(
        {"u = d [events]": grid},
        {name: line.normalised(name) for name in losses},
        minima={name: line.minimum(name).places for name in losses},
        ax=ax,
    )
    plt.show()

# %% [markdown]
# `diffana landscape configs/two_bin_landscape.yaml` makes these maps from a file, for
# any workspace, and for the weights of a network with `configs/blobs_landscape.yaml`.

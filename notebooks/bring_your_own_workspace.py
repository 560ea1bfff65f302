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
# # Bring your own workspace
#
# Any pyhf workspace becomes a likelihood whose every number has a derivative: fit, CLs,
# limit, ranking, then the gradient of CLs with respect to the templates, and in the end
# a learned region that joins it. Put your own file in place of the one made here.

# %%
import json
import pathlib
import tempfile

import equinox as eqx
import jax
import matplotlib.pyplot as plt
import numpy as np
import pyhf

from diffana import assemble, config, plot
from diffana.histfactory import from_workspace
from diffana.infer import estimate, expected_upper_limit, hypotest, ranking, upper_limit
from diffana.losses import Cls
from diffana.train import train
from diffana.workflow.prepared import prepare


jax.config.update("jax_enable_x64", True)

# %% tags=["parameters"]
EVENTS_PER_BLOB = 8000
EPOCHS = 15
BATCH_SIZE = 1000

# %% [markdown]
# ## A workspace
#
# A signal region and a control region, whose background yield floats freely.
# Uncertainties of shape, of yields and of the simulated sample size.

# %%
floating = {"name": "k_background", "type": "normfactor", "data": None}
scale = {"hi_data": [33.0, 22.0, 13.5, 6.5], "lo_data": [27.5, 18.0, 10.5, 4.0]}
workspace = {
    "version": "1.0.0",
    "channels": [
        {
            "name": "SR",
            "samples": [
                {
                    "name": "signal",
                    "data": [1.0, 2.5, 4.0, 4.5],
                    "modifiers": [
                        {"name": "mu", "type": "normfactor", "data": None},
                        {
                            "name": "theory",
                            "type": "normsys",
                            "data": {"hi": 1.1, "lo": 0.9},
                        },
                    ],
                },
                {
                    "name": "background",
                    "data": [30.0, 20.0, 12.0, 5.0],
                    "modifiers": [
                        floating,
                        {"name": "scale", "type": "histosys", "data": scale},
                        {
                            "name": "mc_SR",
                            "type": "staterror",
                            "data": [2.0, 1.5, 1.2, 0.8],
                        },
                    ],
                },
                {
                    "name": "fakes",
                    "data": [6.0, 4.0, 3.0, 2.0],
                    "modifiers": [
                        {
                            "name": "fakes",
                            "type": "normsys",
                            "data": {"hi": 1.3, "lo": 0.75},
                        }
                    ],
                },
            ],
        },
        {
            "name": "CR",
            "samples": [
                {
                    "name": "background",
                    "data": [200.0, 120.0],
                    "modifiers": [
                        floating,
                        {
                            "name": "scale",
                            "type": "normsys",
                            "data": {"hi": 1.05, "lo": 0.96},
                        },
                    ],
                }
            ],
        },
    ],
    "observations": [
        {"name": "SR", "data": [38.0, 24.0, 16.0, 8.0]},
        {"name": "CR", "data": [212.0, 117.0]},
    ],
    "measurements": [{"name": "search", "config": {"poi": "mu", "parameters": []}}],
}

# %%
model, data = from_workspace(workspace)
print(
    f"{model.layout.n_bins} bins and the parameters", ", ".join(model.parameters.names)
)

# %% [markdown]
# ## Fit
#
# The fit is certified before it gives a number. From a shell: `diffana fit
# workspace.json`.

# %%
found = estimate(model, data)
for name, value, error in zip(model.parameters.names, found.bestfit, found.uncertainty):
    print(f"{name:13} {value:7.3f} ± {error:.3f}")
print(f"goodness of fit: p = {found.goodness.p_value:.2f}")

# %% [markdown]
# ## CLs and limit
#
# Both equal pyhf's, up to where pyhf's minimiser stops.

# %%
tested = hypotest(model, data, 1.0)
published = pyhf.Workspace(workspace)
pyhf_model = published.model()
pyhf_data = published.data(pyhf_model)
theirs = pyhf.infer.hypotest(1.0, pyhf_data, pyhf_model, test_stat="qtilde")
print(f"CLs at mu = 1: {tested.CLs_obs:.6f}, pyhf {float(theirs):.6f}")
assert np.isclose(tested.CLs_obs, theirs, rtol=1e-3)

# %%
limit = upper_limit(model, data)
poi = np.linspace(0.05, 1.6 * float(limit.observed), 25)
tests = jax.vmap(lambda mu: hypotest(model, data, mu))(poi)
with plot.style():
    figure, ax = plt.subplots()
    plot.brazil_band(
        poi,
        tests.CLs_obs,
        tests.CLs_exp,
        observed_limit=float(limit.observed),
        expected_limit=float(limit.expected[2]),
        ax=ax,
    )
    plt.show()

# %% [markdown]
# ## Ranking
#
# Impacts follow from the covariance of one fit. `refit=True` takes them from
# conditional fits instead.

# %%
ranked = ranking(model, data)
with plot.style():
    figure, ax = plt.subplots(figsize=(4.2, 3.0))
    plot.ranking(
        ranked.names,
        pull=ranked.pull,
        constraint=ranked.constraint,
        prefit_up=ranked.prefit_up,
        prefit_down=ranked.prefit_down,
        postfit_up=ranked.postfit_up,
        postfit_down=ranked.postfit_down,
        ax=ax,
    )
    plt.show()

# %% [markdown]
# ## What would improve the search?
#
# The gradient of ln CLs (expected, at μ = 1) with respect to every template, through
# the profile fit. A negative number says: one more event here strengthens the
# exclusion. Events in the control region hardly matter: the background yield is known
# well enough. The same call has the derivatives with respect to all uncertainties.

# %%
gradient = eqx.filter_jit(eqx.filter_grad(Cls()))(model).templates
colours = plot.palette(["background", "fakes"], ["signal"])
with plot.style():
    figure, axes = plt.subplots(
        1, 2, figsize=(6.0, 2.6), width_ratios=(2, 1), sharey=True
    )
    for ax, channel in zip(axes, ("SR", "CR")):
        samples = [row.sample for row in model.layout.rows if row.channel == channel]
        for sample in samples:
            slope = gradient.nominal[model.layout.cells(channel, sample)]
            edges = np.arange(len(slope) + 1) + 0.5
            ax.stairs(slope, edges, baseline=None, color=colours[sample], label=sample)
        ax.axhline(0, color="black", lw=0.7)
        ax.set(xlabel=f"Bin of {channel}", xticks=np.arange(1, len(slope) + 1))
        ax.xaxis.minorticks_off()
    axes[0].set_ylabel(r"d ln CL$_\mathrm{s}$ / d(events)")
    axes[0].legend()
    plt.show()

# %% [markdown]
# A derivative can be checked by hand: move one template a little and test again.

# %%
cell, step = model.layout.cells("SR", "signal").start + 3, 1e-3
moved = [
    eqx.tree_at(
        lambda m: m.templates.nominal, model, model.templates.nominal.at[cell].add(h)
    )
    for h in (step, -step)
]
difference = (Cls()(moved[0]) - Cls()(moved[1])) / (2 * step)
print(f"gradient {gradient.nominal[cell]:.6f}, difference {difference:.6f}")
assert np.isclose(gradient.nominal[cell], difference, rtol=1e-4)

# %% [markdown]
# ## A learned region joins
#
# `Workspace` in a configuration adds regions filled with events to a published
# likelihood. A systematic with a published name shares that parameter: here the
# `scale`. The network is trained on the expected CLs of everything together.

# %%
folder = pathlib.Path(tempfile.mkdtemp())
(folder / "workspace.json").write_text(json.dumps(workspace))
settings = config.parse(f"""
General: {{Measurement: joined, POI: mu, Seed: 0}}
Workspace: {{Path: {folder}/workspace.json}}
Generator: {{Type: blobs, EventsPerBlob: {EVENTS_PER_BLOB}}}
Observables:
  - {{Name: summary, Type: MLP, Inputs: [x, y], Hidden: [32, 32]}}
Regions:
  - {{Name: learned, Observable: summary, Binning: [0.0, 0.33, 0.67, 1.0]}}
Samples:
  - {{Name: signal, SamplePath: signal, Yield: 10}}
  - {{Name: background, SamplePath: background, Yield: 100}}
NormFactors:
  - {{Name: mu, Samples: signal}}
Systematics:
  - Name: scale
    Type: NormPlusShape
    Samples: background
    Up: {{SamplePath: background_up}}
    Down: {{SamplePath: background_down}}
Histogram: {{Type: bKDE, Bandwidth: 0.1}}
Loss: {{Type: cls}}
Train: {{Epochs: {EPOCHS}, BatchSize: {BATCH_SIZE}}}
""")
prepared = prepare(settings)
*_, last = train(
    prepared.trainer,
    prepared.first,
    prepared.train,
    prepared.validation,
    n_epochs=EPOCHS,
    n_batches=prepared.n_batches,
    seed=0,
    metrics=assemble.hard_metrics(settings),
    selection="loss",
    max_failed_steps=10,
)

# %%
joined = last.best.hard(prepared.test)
for name, likelihood in (("published", model), ("joined", joined)):
    expected = expected_upper_limit(likelihood).median
    print(
        f"{name:9} {likelihood.layout.n_bins} bins, expected limit on mu {expected:.3f}"
    )

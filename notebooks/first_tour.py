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
# # First tour: from events to a limit
#
# Ten minutes along the way of the data: simulated events, a network, a histogram, a
# HistFactory likelihood, the profile fit, and the expected limit. The network is
# trained on the limit itself, with the systematic uncertainty in it.

# %%
import jax
import matplotlib.pyplot as plt
import mplhep
import numpy as np
import pyhf

from diffana import assemble, config, plot
from diffana.histfactory import modifier_settings, to_workspace
from diffana.infer import hypotest, nominal, upper_limit
from diffana.train import train
from diffana.workflow.prepared import prepare


# Statistics need double precision.
jax.config.update("jax_enable_x64", True)

# %% tags=["parameters"]
EVENTS_PER_BLOB = 8000
EPOCHS = 25
BATCH_SIZE = 1000

# %% [markdown]
# ## The analysis
#
# A configuration has the sections of cabinetry and a few more. It can be a file for
# `diffana train`, or a string. Signal and background are Gaussian blobs in a plane; the
# mean of the background is uncertain, so it is simulated three times.

# %%
settings = config.parse(f"""
General: {{Measurement: tour, POI: mu, Seed: 1}}
Generator: {{Type: blobs, EventsPerBlob: {EVENTS_PER_BLOB}}}
Observables:
  - {{Name: summary, Type: MLP, Inputs: [x, y], Hidden: [64, 64]}}
Regions:
  - {{Name: SR, Observable: summary, Binning: [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]}}
Samples:
  - {{Name: signal, SamplePath: signal, Yield: 20}}
  - {{Name: background, SamplePath: background, Yield: 100}}
NormFactors:
  - {{Name: mu, Samples: signal}}
Systematics:
  - Name: background_mean
    Type: NormPlusShape
    Samples: background
    Up: {{SamplePath: background_up}}
    Down: {{SamplePath: background_down}}
Histogram: {{Type: bKDE, Bandwidth: 0.09}}
Loss: {{Type: cls}}
Train: {{Epochs: {EPOCHS}, BatchSize: {BATCH_SIZE}}}
""")

# %% [markdown]
# `prepare` generates the events, divides them into three parts and builds what they
# meet. An `Analysis` is a pytree: a function from events to a likelihood, with a
# gradient.

# %%
prepared = prepare(settings)
for events in prepared.train:
    print(f"{events.sample:11} {events.variation:21} {len(events):5} events", end="")
    print(f", {events.weight.sum():6.1f} expected")

# %% [markdown]
# ## Soft and hard histograms
#
# A count of events in a bin has no derivative with respect to the network. In training
# each event is a Gaussian of some bandwidth instead and shares its weight among the
# bins. Results always come from the hard histogram. Here is the untrained network:

# %%
untrained = prepared.analysis
soft = untrained.histograms(prepared.test)
hard = untrained.hard.histograms(prepared.test)

with plot.style():
    figure, ax = plt.subplots()
    for index, sample in enumerate(("signal", "background")):
        colour = plot.palette(["background"], ["signal"])[sample]
        mplhep.histplot(hard[index], yerr=False, color=colour, label=sample, ax=ax)
        mplhep.histplot(soft[index], yerr=False, color=colour, ls="--", ax=ax)
    ax.plot([], [], color="grey", ls="--", label="soft")
    ax.set(xlabel="Network output", ylabel="Events / bin", yscale="log")
    ax.legend()
    plt.show()

# %% [markdown]
# ## Training on CLs
#
# The loop is a generator and owns no files. After each epoch it yields hard metrics on
# the validation events. What is minimised is the expected CLs of the signal, from the
# differentiated profile fit.

# %%
epochs = list(
    train(
        prepared.trainer,
        prepared.first,
        prepared.train,
        prepared.validation,
        n_epochs=EPOCHS,
        n_batches=prepared.n_batches,
        seed=settings.general.seed,
        metrics=assemble.hard_metrics(settings),
        selection="loss",
        max_failed_steps=10,
    )
)
trained = epochs[-1].best

# %%
values = [epoch.metrics["cls"] for epoch in epochs]
selected = [epoch.epoch for epoch in epochs if epoch.improved][-1]
with plot.style():
    figure, ax = plt.subplots()
    number = np.arange(1, EPOCHS + 1)
    plot.metric_curve(number, values, name="cls", selected=selected, ax=ax)
    ax.legend()
    plot.label("Validation events", ax=ax)
    plt.show()

# %% [markdown]
# ## What it has learned
#
# The lower panel shows how far the sum moves with the systematic uncertainty. Most
# signal ends up where there is little background, wherever its mean is.

# %%
with plot.style():
    figure = plt.figure(figsize=(6.8, 3.0))
    for part, analysis, name in zip(
        figure.subfigures(1, 2), (untrained, trained), ("Untrained", "Trained on CLs")
    ):
        signal, background, up, down = analysis.hard.histograms(prepared.test)
        axes = plot.ratio_axes(part)
        plot.stacked_histogram(
            {"background": background, "signal": signal},
            signals=["signal"],
            variations={("background", "mean"): (up, down)},
            colours=plot.palette(["background"], ["signal"], ["mean"]),
            observable="Network output",
            ax=axes.main,
            ax_ratio=axes.ratio,
        )
        plot.label(name, ax=axes.main)
    plt.show()

# %% [markdown]
# ## The expected limit
#
# Sharp bins and test events make an ordinary HistFactory likelihood. Its Asimov data
# without signal stand in for the observation, so that observed and expected are one.


# %%
def measured(analysis):
    """The likelihood of test events, and background-only Asimov data."""
    likelihood = analysis.hard(prepared.test)
    return likelihood, likelihood.expected_data(nominal(likelihood, 0.0))


likelihood, data = measured(trained)
# An untrained network may leave bins so empty that there is no certified limit: nan.
before = upper_limit(*measured(untrained), throw=False).expected
after = upper_limit(likelihood, data).expected
print(f"expected limit on mu, untrained: {before[2]:.3f}")
print(f"expected limit on mu, trained:   {after[2]:.3f}")
print(f"68 % of limits without signal:   {after[1]:.3f} to {after[3]:.3f}")

# %%
poi = np.linspace(0.01, 2.5 * float(after[2]), 21)
tests = jax.vmap(lambda mu: hypotest(likelihood, data, mu))(poi)
with plot.style():
    figure, ax = plt.subplots()
    plot.brazil_band(
        poi, tests.CLs_obs, tests.CLs_exp, expected_limit=float(after[2]), ax=ax
    )
    plt.show()

# %% [markdown]
# ## The same from pyhf
#
# The likelihood is exported as a workspace. pyhf knows nothing of networks or gradients
# and finds the same limit; what remains is where its minimiser stops.

# %%
workspace = to_workspace(likelihood, data, "tour")
model = pyhf.Workspace(workspace).model(modifier_settings=modifier_settings(likelihood))
observed = [*workspace["observations"][0]["data"], *model.config.auxdata]
_, limits = pyhf.infer.intervals.upper_limits.upper_limit(observed, model, level=0.05)

ours, theirs = np.asarray(after), np.asarray(limits)
for band, one, other in zip(("-2σ", "-1σ", "median", "+1σ", "+2σ"), ours, theirs):
    print(f"{band:>7}: {one:.5f} here, {other:.5f} from pyhf")
# pyhf's root finder stops at a relative distance of 1e-4 by itself.
assert np.allclose(ours, theirs, rtol=1e-3)

# %% [markdown]
# From the shell, `diffana train config.yaml --out runs/tour` does all of this and keeps
# a record. `what_each_loss_does` compares the losses, `bring_your_own_workspace` starts
# from a published likelihood.

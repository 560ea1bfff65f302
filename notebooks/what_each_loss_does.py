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
# # What each loss does
#
# One network, the same events, four losses: a classifier, and three expected results of
# the same likelihood. A classifier knows nothing of the systematic uncertainty. CLs
# wants to exclude a signal, p0 to discover it, σ_μ to measure it.

# %%
import jax
import matplotlib.pyplot as plt
import numpy as np

from diffana import assemble, config, plot
from diffana.train import train
from diffana.workflow.prepared import prepare


jax.config.update("jax_enable_x64", True)

# %% tags=["parameters"]
LOSSES = ("bce", "cls", "p0", "sigma_mu")
SEEDS = (0, 1, 2)
EVENTS_PER_BLOB = 8000
EPOCHS = 25
BATCH_SIZE = 1000

# %% [markdown]
# ## The analysis
#
# The blobs of `first_tour`, once more. Only the last lines change from loss to loss.


# %%
def settings(loss, seed):
    """The configuration for one loss and one seed."""
    return config.parse(f"""
General: {{Measurement: losses, POI: mu, Seed: {seed}}}
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
Loss: {{Type: {loss}}}
Train: {{Epochs: {EPOCHS}, BatchSize: {BATCH_SIZE}}}
""")


# %% [markdown]
# ## Training
#
# All metrics are computed after every epoch, whatever the loss is. A seed changes
# events, initial weights and batches. The trainer is kept for all seeds of a loss, so
# that its update is compiled once.

# %%
runs = {}
for loss in LOSSES:
    trainer = None
    for seed in SEEDS:
        chosen = settings(loss, seed)
        prepared = prepare(chosen)
        trainer = trainer or prepared.trainer
        runs[loss, seed] = (
            prepared,
            list(
                train(
                    trainer,
                    prepared.first,
                    prepared.train,
                    prepared.validation,
                    n_epochs=EPOCHS,
                    n_batches=prepared.n_batches,
                    seed=seed,
                    metrics=assemble.hard_metrics(chosen),
                    selection="loss",
                    max_failed_steps=10,
                )
            ),
        )

# %% [markdown]
# ## How the results improve
#
# Left, hard metrics on validation events: the line is the median over the seeds, the
# band their range. Right, the selected models on test events, one point per seed.

# %%
METRICS = ("cls", "p0", "sigma_mu")
measure = jax.tree_util.Partial(trainer.hard_metrics, assemble.hard_metrics(chosen))
tested = {run: measure(e[-1].best, p.test) for run, (p, e) in runs.items()}
series = {
    metric: plot.MetricSeries(
        curves={
            loss: plot.Curves(
                np.arange(1, EPOCHS + 1),
                [[e.metrics[metric] for e in runs[loss, seed][1]] for seed in SEEDS],
            )
            for loss in LOSSES
        },
        final={
            loss: [float(tested[loss, seed][metric].value) for seed in SEEDS]
            for loss in LOSSES
        },
    )
    for metric in METRICS
}
with plot.style():
    plot.comparison(series, figure=plt.figure(figsize=(5.6, 6.0)))
    plt.show()

# %%
print("median on test events" + "".join(f"{metric:>12}" for metric in METRICS))
for loss in LOSSES:
    medians = [np.median(series[metric].final[loss]) for metric in METRICS]
    print(f"trained on {loss:10}" + "".join(f"{value:12.3g}" for value in medians))

# %% [markdown]
# ## Histograms with their variations
#
# The first seed of each loss, test events, sharp bins. The lower panel shows how far
# the sum moves with the systematic uncertainty. The classifier lets every bin move. The
# others gather the moving events where there is little signal.

# %%
with plot.style():
    figure = plt.figure(figsize=(6.8, 6.0))
    for part, loss in zip(figure.subfigures(2, 2).flat, LOSSES):
        prepared, epochs = runs[loss, SEEDS[0]]
        signal, background, up, down = epochs[-1].best.hard.histograms(prepared.test)
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
        plot.label(f"Trained on {loss}", ax=axes.main)
    plt.show()

# %% [markdown]
# ## What the network looks at
#
# The same networks over the plane, with their bin edges as contours. The background can
# move along the line through its three positions. The classifier separates signal from
# the nominal background only; the others bend around all three.

# %%
side = np.linspace(-6, 6, 121)
plane = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
colours = plot.palette(["background", "up", "down"], ["signal"])
with plot.style():
    figure = plt.figure(figsize=(2.6 * len(LOSSES), 2.9))
    for part, loss in zip(figure.subfigures(1, len(LOSSES)), LOSSES):
        prepared, epochs = runs[loss, SEEDS[0]]
        best, ax = epochs[-1].best, part.subplots()
        plot.observable_map(
            side,
            side,
            best.summaries["summary"](plane).reshape(len(side), len(side)),
            edges=best.regions[0].edges(),
            events={
                name: events.features[:150]
                for name, events in zip(
                    ("signal", "background", "up", "down"), prepared.test
                )
            },
            colours=colours,
            observable="Network output",
            x_name="$x$",
            y_name="$y$",
            ax=ax,
        )
        plot.label(f"Trained on {loss}", ax=ax)
    plt.show()

# %% [markdown]
# With runs that `diffana train` has left in folders, `diffana compare runs/*` makes the
# same figure and a table. `experiments/blobs` repeats this study with nine seeds.

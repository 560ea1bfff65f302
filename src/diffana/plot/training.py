"""How a training went: the loss of every update, hard metrics of every epoch."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Bool, Float, Real
from matplotlib.axes import Axes
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator


_SINGLE, _MEAN, _REFUSED = "#94a4a2", "#3f90da", "#bd1f01"


class LossArtists(NamedTuple):
    """What `loss_curve` drew.

    Attributes:
        updates: loss of each update.
        running_mean: mean loss of the updates around each one.
        refused: a cross at the lower edge for each refused update.
        legend: the legend.
    """

    updates: Line2D
    running_mean: Line2D
    refused: Line2D
    legend: Legend


def loss_curve(
    progress: Real[ArrayLike, " update"],
    loss: Float[ArrayLike, " update"],
    refused: Bool[ArrayLike, " update"],
    *,
    window: int = 11,
    progress_name: str = "Update",
    loss_name: str = "Training loss",
    ax: Axes,
) -> LossArtists:
    """Draw the loss of every update, its running mean, and which were refused.

    Args:
        progress: number of the update, or the epochs made, increasing.
        loss: its loss before the update; nan where there is none.
        refused: whether the update was refused; its loss is not in the mean.
        window: updates in the running mean, which is centred; fewer at both ends.
        progress_name: label of the abscissa.
        loss_name: label of the ordinate.
        ax: where to draw.

    Example:
        >>> from matplotlib.figure import Figure
        >>> loss, refused = [3.0, np.nan, 1.0], [False, True, False]
        >>> ax = Figure().add_subplot()
        >>> drawn = loss_curve([1, 2, 3], loss, refused, window=3, ax=ax)
        >>> drawn.running_mean.get_ydata().tolist()
        [3.0, 2.0, 1.0]
    """
    progress, loss = np.asarray(progress), np.asarray(loss)
    refused = np.asarray(refused)
    (updates,) = ax.plot(
        progress, loss, color=_SINGLE, lw=0.7, marker=".", ms=2.5, label="each update"
    )
    mean = _running_mean(np.where(refused, np.nan, loss), window)
    (running_mean,) = ax.plot(
        progress, mean, color=_MEAN, lw=1.6, label=f"mean of {window} updates"
    )
    at = progress[refused]
    (crosses,) = ax.plot(
        at,
        np.full(len(at), 0.04),
        transform=ax.get_xaxis_transform(),
        color=_REFUSED,
        ls="",
        marker="x",
        label="refused",
    )
    ax.set(xlabel=progress_name, ylabel=loss_name)
    handles = [updates, running_mean, *([crosses] if len(at) else [])]
    legend = ax.legend(handles=handles, loc="best")
    return LossArtists(updates, running_mean, crosses, legend)


class MetricArtists(NamedTuple):
    """What `metric_curve` drew.

    Attributes:
        curve: value after each epoch.
        selected: the value of the selected epoch.
        selected_epoch: a vertical line at the selected epoch.
    """

    curve: Line2D
    selected: Line2D
    selected_epoch: Line2D


def metric_curve(
    epoch: Real[ArrayLike, " epoch"],
    values: Float[ArrayLike, " epoch"],
    *,
    name: str,
    selected: int,
    ax: Axes,
) -> MetricArtists:
    """Draw a hard metric after every epoch, and mark the selected one.

    P-values have a logarithmic axis. A significance, which training minimises with a
    minus sign, is drawn without it.

    Args:
        epoch: epochs made, increasing.
        values: the metric on the validation events; nan where a fit failed.
        name: name of the metric as in training: `cls`, `p0`, `sigma_mu`, `fisher`,
            `significance`, `asimov_significance`, `loss`; any other one is drawn as it
            is.
        selected: the epoch that was selected, one of `epoch`.
        ax: where to draw.

    Raises:
        ValueError: if `selected` is none of the epochs.

    Example:
        >>> from matplotlib.figure import Figure
        >>> ax = Figure().add_subplot()
        >>> drawn = metric_curve([1, 2], [0.2, 0.1], name="cls", selected=2, ax=ax)
        >>> drawn.selected.get_ydata().tolist(), ax.get_yscale()
        ([0.1], 'log')
    """
    epoch, values = np.asarray(epoch), np.asarray(values)
    chosen = epoch == selected
    if not np.any(chosen):
        raise ValueError(f"metric {name!r}: it has no value for epoch {selected}")
    appearance = _appearance(name)
    values = appearance.sign * values
    (curve,) = ax.plot(epoch, values, color=_MEAN, marker=".")
    line = ax.axvline(selected, color="black", lw=0.7, ls="--", zorder=1)
    (marker,) = ax.plot(
        epoch[chosen],
        values[chosen],
        color=_REFUSED,
        ls="",
        marker="o",
        ms=5,
        mfc="none",
        mew=1.2,
        label=f"selected: epoch {selected}",
    )
    appearance.scale(ax, values)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.xaxis.minorticks_off()
    ax.set(xlabel="Epoch", ylabel=appearance.label)
    return MetricArtists(curve, marker, line)


def metric_curves(
    epoch: Real[ArrayLike, " epoch"],
    metrics: Mapping[str, Float[ArrayLike, " epoch"]],
    *,
    selected: int,
    axes: Sequence[Axes],
) -> dict[str, MetricArtists]:
    """Draw several hard metrics below each other, as `metric_curve` does.

    Args:
        epoch: epochs made, increasing.
        metrics: values after each epoch by name of the metric.
        selected: the epoch that was selected, one of `epoch`.
        axes: one for each metric, from top to bottom.

    Raises:
        ValueError: if there are not as many axes as metrics, or `selected` is none of
            the epochs.

    Example:
        >>> from matplotlib.figure import Figure
        >>> metrics = {"cls": [0.2, 0.1], "sigma_mu": [0.5, 0.4]}
        >>> axes = Figure().subplots(2, 1, sharex=True)
        >>> list(metric_curves([1, 2], metrics, selected=2, axes=axes))
        ['cls', 'sigma_mu']
    """
    artists = {
        name: metric_curve(epoch, values, name=name, selected=selected, ax=ax)
        for (name, values), ax in zip(metrics.items(), axes, strict=True)
    }
    for ax in axes[:-1]:
        ax.set_xlabel("")
        ax.tick_params(labelbottom=False)
    axes[0].legend(handles=[next(iter(artists.values())).selected], loc="best")
    axes[0].figure.align_ylabels(list(axes))
    return artists


class _Appearance(NamedTuple):
    label: str
    is_p_value: bool = False
    sign: int = 1

    def scale(self, ax: Axes, values: Float[ArrayLike, "..."]) -> None:
        """Give p-values a logarithmic axis, unless none of them is positive."""
        if self.is_p_value and np.any(np.asarray(values) > 0):
            ax.set_yscale("log", nonpositive="mask")


def _appearance(name: str) -> _Appearance:
    match name:
        case "cls":
            return _Appearance(r"Expected CL$_\mathrm{s}$", is_p_value=True)
        case "p0":
            return _Appearance(r"Expected $p_\mathrm{0}$", is_p_value=True)
        case "sigma_mu":
            return _Appearance(r"$\sigma_\mu$")
        case "fisher":
            return _Appearance(r"ln det covariance")
        case "significance":
            return _Appearance(r"Expected $Z$ [$\sigma$]", sign=-1)
        case "asimov_significance":
            return _Appearance(r"$Z_A$, no syst. [$\sigma$]", sign=-1)
        case "constraint":
            return _Appearance(r"$\Sigma\,(1 - \sigma_\alpha)^2$")
        case "bce":
            return _Appearance("Cross-entropy")
        case "loss":
            return _Appearance("Loss")
        case _:
            return _Appearance(name)


def _running_mean(
    values: Float[np.ndarray, " update"], window: int
) -> Float[np.ndarray, " update"]:
    """Mean of the finite ones among the `window` values around each; nan if none is."""
    padded = np.pad(values, (window // 2, (window - 1) // 2), constant_values=np.nan)
    around = np.lib.stride_tricks.sliding_window_view(padded, window)
    is_finite = np.isfinite(around)
    total = np.sum(around, axis=1, where=is_finite)
    count = np.sum(is_finite, axis=1)
    return np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0)

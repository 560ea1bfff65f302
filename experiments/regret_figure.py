"""Lengths of confidence sets over true values, and what each belt costs."""

from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator


COLOURS = ("black", "#3f90da", "#bd1f01", "#ffa90e", "#832db6", "#94a4a2")
STYLES = ("-", "-", "-", "--", "--", ":")


def regret_figure(panels, *, x_label=r"True $\mu$", unit=""):
    """Columns of two axes: expected lengths above, their ratio to the first below.

    Args:
        panels: of each column, by title: `mu`, and `lengths` and `ratios` by belt.
            A band of `errors` by belt is drawn where there is one.
        x_label: of the true value.
        unit: of lengths, with its brackets.
    """
    figure = Figure(figsize=(0.6 + 3.0 * len(panels), 4.4))
    axes = figure.subplots(
        2, len(panels), sharex="col", squeeze=False, height_ratios=(3, 2)
    )
    for (title, panel), (above, below) in zip(panels.items(), axes.T, strict=True):
        names = list(panel["lengths"])
        for name, colour, style in zip(names, COLOURS, STYLES, strict=False):
            line = {"color": colour, "ls": style, "lw": 1.1}
            above.plot(panel["mu"], panel["lengths"][name], label=name, **line)
            ratio = panel["ratios"][name]
            below.plot(panel["mu"], ratio, **line)
            error = panel.get("errors", {}).get(name)
            if error is not None:
                band = {"color": colour, "alpha": 0.25, "lw": 0}
                below.fill_between(panel["mu"], ratio - error, ratio + error, **band)
        above.set_title(title, loc="left")
        above.set(
            xlim=(panel["mu"][0], panel["mu"][-1]), ylim=(0, 1.1 * above.get_ylim()[1])
        )
        below.set(xlabel=x_label, ylim=panel.get("ratio range"))
        if panel.get("ticks"):
            below.xaxis.set_major_locator(MultipleLocator(panel["ticks"]))
    axes[0, 0].set_ylabel(f"Expected length{unit}")
    axes[1, 0].set_ylabel(f"Ratio to {next(iter(panels.values()))['reference']}")
    axes[0, 0].legend(fontsize=6.5)
    figure.align_ylabels(list(axes[:, 0]))
    return figure

"""The figures of the study."""

from matplotlib.figure import Figure

from diffana.plot import style
from diffana.workflow.landscape_figures import draw_comparison, draw_loss


def draw(folder, plane, lines, titles):
    """A map of every loss as in Fig. 7.20, the lines as in Fig. 7.21, contours."""
    with style():
        n_rows = -(-len(plane.loss_names) // 3)
        figure = Figure(figsize=(10.2, 2.8 * n_rows), layout="constrained")
        axes = figure.subplots(n_rows, 3).ravel()
        for ax, name in zip(axes, plane.loss_names, strict=False):
            draw_loss(plane, name, titles=titles, target=(0.0, 0.0), ax=ax)
        for ax in axes[len(plane.loss_names) :]:
            ax.set_axis_off()
        figure.savefig(folder / "maps.png", dpi=150)
        figure = Figure(figsize=(7.4, 3.9), layout="constrained")
        for ax, (name, line) in zip(figure.subplots(1, 2), lines.items(), strict=True):
            draw_comparison(line, titles=titles, ax=ax)
            ax.set_title(name, loc="left")
        figure.savefig(folder / "lines.png", dpi=200)
        figure = Figure(figsize=(3.8, 4.2), layout="constrained")
        draw_comparison(plane, titles=titles, ax=figure.subplots())
        figure.savefig(folder / "comparison.png", dpi=200)

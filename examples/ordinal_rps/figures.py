"""The pictures: sensitivity to alpha, and what each strategy predicts for one image (Figure 3 of the paper)."""

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

PANELS = (("mr_ece", "MR-ECE"), ("auc", "AUC"), ("rps", "RPS"))


def sensitivity(table, path, chosen):
    """Each metric over alpha on the validation patients, one curve a read-out; the chosen alpha dotted."""
    figure = Figure(figsize=(10, 3), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (metric, label) in zip(figure.subplots(1, len(PANELS)), PANELS, strict=True):
        for readout, part in table[table["metric"] == metric].sort_values("alpha").groupby("readout"):
            axes.plot(part["alpha"], part["estimate"], "o-", ms=4, label=readout)
        axes.axvline(chosen, color="black", lw=0.8, ls=":")
        axes.set(xlabel="alpha", ylabel=label)
        axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=110)


def one_image(image, predictions, path):
    """The raters and their sum above, the probabilities of every strategy below, cut to what was marked."""
    raters = {f"rater {name}": mask for name, mask in image.raters.items() if mask is not None}
    votes = np.sum(list(raters.values()), axis=0)
    top = {"image": image.image, **raters, "votes": votes / len(raters)}
    columns = max(len(top), -(-len(predictions) // 2))
    figure = Figure(figsize=(1.7 * columns, 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(3, columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    below = list(predictions.items())
    half = -(-len(below) // 2)
    for row, panels in zip(grid, (list(top.items()), below[:half], below[half:]), strict=True):
        for axes, (name, panel) in zip(row, panels, strict=False):
            values = np.asarray(panel, dtype=float)
            if name == "image":
                low, high = np.min(values), max(np.max(values), np.min(values) + 1e-9)
                axes.imshow((values - low) / (high - low), cmap="gray")
            else:
                shown = axes.imshow(values, cmap=mpl.colormaps["viridis"], vmin=0, vmax=1)
            axes.set_title(name, fontsize=8)
    figure.colorbar(shown, ax=grid, shrink=0.6)
    figure.savefig(path, dpi=110)

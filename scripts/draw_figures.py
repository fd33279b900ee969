"""Draw the figures of README.md and docs/: the method, and what the metrics measure.

python scripts/draw_figures.py            writes docs/pictures/method.png and metrics.png
"""

import sys
from pathlib import Path

# Run as a file, Python puts scripts/ on the path, not the root that the packages live in.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np  # noqa: E402 - the line above

from reports.canvas import new_figure, save_png  # noqa: E402
from system.command_line import CommandLine  # noqa: E402

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
INK, FAINT, ENCODER, DECODER, LOSS, KL = ("#202428", "#70767C", "#2F86DB", "#00A375", "#D55E00",
                                          "#B8569C")


def draw_method(path: Path) -> None:
    """A U-shaped network, its side outputs, and who learns from whom."""
    from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

    figure = new_figure(1240, 600, "white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 1240), ylim=(0, 600))
    axes.axis("off")

    def box(x, y, width, height, text, colour, filled=False):
        axes.add_patch(FancyBboxPatch(
            (x - width / 2, y - height / 2), width, height, boxstyle="round,pad=0,rounding_size=7",
            facecolor=colour if filled else "white", edgecolor=colour, linewidth=1.8))
        axes.text(x, y, text, ha="center", va="center", fontsize=11,
                  color="white" if filled else INK)

    def arrow(start, end, colour, style="-|>", curve=0.0, line="-", width=1.6):
        axes.add_patch(FancyArrowPatch(
            start, end, arrowstyle=style, mutation_scale=13, color=colour, linewidth=width,
            connectionstyle=f"arc3,rad={curve}", linestyle=line, shrinkA=0, shrinkB=0))

    levels = (470, 375, 280, 185)
    names = (("enc1", "1"), ("enc2", "1/2"), ("enc3", "1/4"), ("enc4", "1/8"))
    for (name, scale), y, width in zip(names, levels, (118, 106, 94, 82), strict=True):
        teacher = name == "enc4"
        box(330, y, width, 46, f"level {scale}", ENCODER, filled=True)
        box(130, y, 112, 40, f"{name}{' teacher' if teacher else ''}", ENCODER)
        arrow((330 - width / 2, y), (188, y), FAINT)
    for upper, lower in zip(levels, levels[1:], strict=False):
        arrow((330, upper - 23), (330, lower + 23), INK)
    box(590, 90, 150, 46, "bottleneck 1/16", INK, filled=True)
    arrow((330, 162), (512, 92), INK, curve=0.12)
    decoder = (("dec3", "1/8", 185, 82), ("dec2", "1/4", 280, 94), ("dec1", "1/2", 375, 106))
    for name, scale, y, width in decoder:
        box(850, y, width, 46, f"level {scale}", DECODER, filled=True)
        box(1050, y, 112, 40, f"{name}{' teacher' if name == 'dec1' else ''}", DECODER)
        arrow((850 + width / 2, y), (992, y), FAINT)
        arrow((330 + width / 2, y), (850 - width / 2, y), FAINT, line=(0, (4, 3)), width=1.1)
    arrow((389, 470), (791, 470), FAINT, line=(0, (4, 3)), width=1.1)
    box(850, 470, 118, 46, "level 1", DECODER, filled=True)
    box(1050, 470, 112, 40, "output", INK)
    arrow((909, 470), (992, 470), INK)
    box(1050, 90, 112, 40, "dec4", DECODER)
    arrow((665, 90), (992, 90), FAINT)
    arrow((668, 96), (850, 162), INK, curve=0.12)
    for lower, upper in ((208, 257), (303, 352), (398, 447)):
        arrow((850, lower), (850, upper), INK)
    for y in (470, 375, 280, 185, 90):
        axes.text(1150, y, "Dice-CE", color=LOSS, fontsize=11, va="center", weight="bold")
    for y in (470, 375, 280):
        arrow((72, 185), (72, y), KL, curve=-0.28 if y > 300 else -0.35)
    for y in (280, 185, 90):
        arrow((1108, 388), (1108, y + 6), KL, curve=-0.16)
    axes.text(18, 330, "KL", color=KL, fontsize=12, weight="bold", ha="center")
    axes.text(1085, 228, "KL", color=KL, fontsize=12, weight="bold", ha="center")
    box(330, 560, 118, 40, "image", INK)
    arrow((330, 540), (330, 493), INK)
    axes.text(690, 560, "training: every level has a head; the deepest level along the data flow\n"
              "of each branch teaches the others (KL at temperature 3)", ha="center", va="center",
              fontsize=11, color=INK)
    axes.text(590, 22, "at test time the heads are gone: the network is the plain one", ha="center",
              fontsize=11, color=FAINT)
    save_png(path, figure)


def draw_metrics(path: Path) -> None:
    """Overlap and distances of two outlines in a plane, as metrics/ has them in space."""
    figure = new_figure(1240, 470, "white")
    label, prediction = _blobs()
    far = np.linalg.norm(_edge(prediction)[:, None] - _edge(label)[None], axis=2)
    there, back = far.min(1), far.min(0)
    overlap = 2 * (prediction & label).sum() / (prediction.sum() + label.sum())
    largest = max(np.percentile(there, 95), np.percentile(back, 95))
    values = (
        f"Dice {overlap:.3f}\n2 x both / (label + prediction)",
        f"HD95 {largest:.1f} mm\nthe larger of the two 95th percentiles",
        f"MSD {there.mean():.1f} mm, MSD back {back.mean():.1f} mm, "
        f"ASSD {np.concatenate([there, back]).mean():.1f} mm\n"
        "means of the distances, one way, the other, both")
    for index, text in enumerate(values):
        axes = figure.add_axes((0.02 + index * 0.33, 0.17, 0.30, 0.78))
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color("#D0D5DA")
        for mask, colour in ((label, ENCODER), (prediction, LOSS)):
            axes.contour(mask.T, [0.5], colors=[colour], linewidths=2)
        if index == 0:
            axes.contourf((label & prediction).T, [0.5, 1.5], colors=["#8A6FA8"], alpha=0.35)
        else:
            _distances(axes, prediction, label, 95 if index == 1 else None)
        figure.text(0.17 + index * 0.33, 0.075, text, ha="center", va="center", fontsize=11,
                    color=INK)
    figure.text(0.03, 0.955, "label", color=ENCODER, fontsize=12, weight="bold")
    figure.text(0.075, 0.955, "prediction", color=LOSS, fontsize=12, weight="bold")
    save_png(path, figure)


def _blobs() -> tuple[np.ndarray, np.ndarray]:
    """A round label, and a prediction that is shifted and has a spur; (X, Y) booleans."""
    x, y = np.mgrid[:60, :50]
    label = (x - 27) ** 2 / 1.3 + (y - 25) ** 2 < 15**2
    prediction = (x - 31) ** 2 / 1.3 + (y - 24) ** 2 < 14**2
    return label, prediction | ((abs(y - 27) < 2) & (x > 40) & (x < 55))


def _edge(mask: np.ndarray) -> np.ndarray:
    """Points (N, 2) of a mask's outline."""
    inside = mask.copy()
    for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
        inside &= np.roll(mask, step, axis)
    return np.argwhere(mask & ~inside)


def _distances(axes, prediction: np.ndarray, label: np.ndarray, above: float | None) -> None:
    """Lines from points of the prediction's outline to the nearest of the label's."""
    points, others = _edge(prediction), _edge(label)
    far = np.linalg.norm(points[:, None] - others[None], axis=2)
    limit = 0 if above is None else np.percentile(far.min(1), above)
    for point, row in list(zip(points, far, strict=True))[::1 if above else 3]:
        if row.min() >= limit:
            axes.plot(*np.stack([point, others[row.argmin()]]).T, color=INK, linewidth=1.1)


def main() -> None:
    parser = CommandLine(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=PICTURES, metavar="FOLDER")
    folder = parser.parse_args().output
    draw_method(folder / "method.png")
    draw_metrics(folder / "metrics.png")


if __name__ == "__main__":
    main()

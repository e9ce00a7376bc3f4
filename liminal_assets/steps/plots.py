"""The pictures of an evaluation: small PNGs, drawn without a screen."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from liminal_assets.steps.metrics import Answers
from liminal_assets.steps.report import Plot
from liminal_assets.steps.tune import Search

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["evaluation_plots", "importance_plot", "search_plot"]

_BLUE, _ORANGE, _GREY = "#2563eb", "#ea580c", "#94a3b8"
_MOST_POINTS = 2000
_MOST_CLASSES = 12


def evaluation_plots(answers: Answers) -> dict[str, Plot]:
    """The plots that fit the task, by name."""
    return dict(_regression(answers) if answers.task == "regression" else _classes(answers))


def _classes(answers: Answers) -> Iterator[tuple[str, Plot]]:
    yield "confusion_matrix", _confusion(answers)
    if len(set(answers.truth.tolist())) < 2:
        # a curve needs rows of both kinds
        return
    scores = answers.positive if answers.positive is not None else answers.scores
    if answers.binary and scores is not None:
        yield "roc_curve", _roc(answers, {str(answers.classes[1]): (answers.truth == 1, scores)})
        yield "pr_curve", _precision_recall(answers, scores)
        if answers.positive is not None:
            yield "calibration", _calibration(answers)
    elif answers.probabilities is not None:
        curves = {
            str(label): (answers.truth == number, answers.probabilities[:, number])
            for number, label in enumerate(answers.classes[:_MOST_CLASSES])
            if 0 < (answers.truth == number).sum() < len(answers)
        }
        yield "roc_curve", _roc(answers, curves)


def _regression(answers: Answers) -> Iterator[tuple[str, Plot]]:
    chosen = _some(len(answers))
    truth, predicted = answers.truth[chosen], answers.predicted[chosen]
    with _Drawing("Predicted against actual", "actual", "predicted") as drawing:
        drawing.axes.scatter(truth, predicted, s=6, alpha=0.4, color=_BLUE, linewidths=0)
        ends = [min(truth.min(), predicted.min()), max(truth.max(), predicted.max())]
        drawing.axes.plot(ends, ends, color=_GREY, linewidth=1)
    yield "predicted_vs_actual", drawing.plot
    with _Drawing("Residuals", "predicted", "actual − predicted") as drawing:
        drawing.axes.scatter(
            predicted, truth - predicted, s=6, alpha=0.4, color=_BLUE, linewidths=0
        )
        drawing.axes.axhline(0, color=_GREY, linewidth=1)
    yield "residuals", drawing.plot
    with _Drawing("Distribution of residuals", "actual − predicted", "rows") as drawing:
        drawing.axes.hist(answers.truth - answers.predicted, bins=40, color=_BLUE)
    yield "residual_distribution", drawing.plot


def _confusion(answers: Answers) -> Plot:
    import numpy as np
    from sklearn.metrics import confusion_matrix

    count = len(answers.classes)
    matrix = confusion_matrix(answers.truth, answers.predicted, labels=range(count))
    shown = min(count, _MOST_CLASSES)
    matrix = matrix[:shown, :shown]
    labels = [str(label) for label in answers.classes[:shown]]
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    with _Drawing("Confusion matrix", "predicted", "actual", grid=False) as drawing:
        axes = drawing.axes
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(shown), labels, rotation=30 if shown > 4 else 0)
        axes.set_yticks(range(shown), labels)
        for row in range(shown):
            for column in range(shown):
                colour = "white" if shares[row, column] > 0.5 else "black"
                text = f"{matrix[row, column]:,}\n{shares[row, column]:.0%}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=7)
    return drawing.plot


def _roc(answers: Answers, curves: Mapping[str, tuple[Any, Any]]) -> Plot:
    from sklearn.metrics import auc, roc_curve

    with _Drawing("ROC curve", "false positive rate", "true positive rate") as drawing:
        for label, (truth, scores) in curves.items():
            wrong, right, _ = roc_curve(truth, scores)
            drawing.axes.plot(
                wrong, right, linewidth=1.5, label=f"{label}: {auc(wrong, right):.3f}"
            )
        drawing.axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--")
        drawing.axes.legend(fontsize=7)
    return drawing.plot


def _precision_recall(answers: Answers, scores: Any) -> Plot:
    from sklearn.metrics import average_precision_score, precision_recall_curve

    truth = answers.truth == 1
    precision, recall, _ = precision_recall_curve(truth, scores)
    mean = average_precision_score(truth, scores)
    with _Drawing("Precision and recall", "recall", "precision") as drawing:
        drawing.axes.plot(recall, precision, color=_BLUE, label=f"average precision: {mean:.3f}")
        share = float(truth.mean())
        drawing.axes.axhline(share, color=_GREY, linewidth=1, linestyle="--", label="by chance")
        drawing.axes.set_ylim(0, 1.02)
        drawing.axes.legend(fontsize=7)
    return drawing.plot


def _calibration(answers: Answers) -> Plot:
    from sklearn.calibration import calibration_curve

    truth = answers.truth == 1
    happened, said = calibration_curve(truth, answers.positive, n_bins=10, strategy="quantile")
    with _Drawing("Calibration", "predicted probability", "share of positives") as drawing:
        drawing.axes.plot([0, 1], [0, 1], color=_GREY, linewidth=1, linestyle="--")
        drawing.axes.plot(said, happened, color=_BLUE, marker="o", markersize=4)
    return drawing.plot


def importance_plot(importance: Sequence[Mapping[str, Any]], metric: str) -> Plot:
    """The columns that matter most, and how sure that is."""
    shown = list(importance[:20])[::-1]
    title = f"Permutation importance ({metric})"
    widest = max((len(str(row["column"])) for row in shown), default=0)
    left = min(0.55, 0.05 + 0.0175 * widest)
    with _Drawing(title, f"loss of {metric} when shuffled", "", left=left) as drawing:
        drawing.axes.barh(
            [str(row["column"]) for row in shown],
            [row["importance"] for row in shown],
            xerr=[row["spread"] for row in shown],
            color=_BLUE,
            ecolor=_GREY,
        )
        drawing.axes.tick_params(axis="y", labelsize=7)
    return drawing.plot


def search_plot(search: Search) -> Plot:
    """The value of each trial and the best so far."""
    better = max if search.direction == "maximize" else min
    complete = [trial for trial in search.trials if trial.state == "complete"]
    best: list[float] = []
    for trial in complete:
        value = float(trial.value or 0.0)
        best.append(better(best[-1], value) if best else value)
    stopped = [t for t in search.trials if t.state == "pruned" and t.value is not None]
    numbers = [trial.number for trial in complete]
    with _Drawing(f"Search for {search.metric}", "trial", search.metric) as drawing:
        drawing.axes.scatter(
            numbers, [trial.value or 0.0 for trial in complete], s=14, color=_BLUE, label="complete"
        )
        if stopped:
            drawing.axes.scatter(
                [trial.number for trial in stopped],
                [trial.value or 0.0 for trial in stopped],
                s=14,
                color=_GREY,
                marker="x",
                label="stopped early",
            )
        drawing.axes.step(numbers, best, where="post", color=_ORANGE, label="best so far")
        drawing.axes.legend(fontsize=7)
    return drawing.plot


class _Drawing:
    """A figure with one pair of axes that becomes a :class:`Plot`."""

    plot: Plot

    def __init__(
        self,
        title: str,
        across: str,
        up: str,
        *,
        grid: bool = True,
        left: float = 0.15,
    ) -> None:
        from matplotlib.figure import Figure

        self._title = title
        self._figure: Figure = Figure(figsize=(4.4, 3.3), dpi=90)
        # a fixed layout, for finding one draws everything twice
        self._figure.subplots_adjust(left=left, right=0.97, top=0.9, bottom=0.15)
        self.axes: Axes = self._figure.subplots()
        self.axes.set_title(title, fontsize=10)
        self.axes.set_xlabel(across, fontsize=8)
        self.axes.set_ylabel(up, fontsize=8)
        self.axes.tick_params(labelsize=7)
        if grid:
            self.axes.grid(visible=True, color="#e2e8f0", linewidth=0.6)
            self.axes.set_axisbelow(True)

    def __enter__(self) -> _Drawing:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: Any) -> None:
        if kind is None:
            picture = io.BytesIO()
            # no date and no version of matplotlib: equal plots are equal bytes
            self._figure.savefig(picture, format="png", metadata={"Software": None})
            self.plot = Plot(picture.getvalue(), self._title)


def _some(count: int) -> Any:
    """At most :data:`_MOST_POINTS` positions, spread evenly."""
    import numpy as np

    return np.unique(np.linspace(0, count - 1, min(count, _MOST_POINTS)).astype(int))

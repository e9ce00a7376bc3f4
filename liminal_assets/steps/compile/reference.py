"""Which of scikit-learn's estimators are compiled, as a page of the documentation."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path

from liminal_assets.steps.compile.converters import compiled_names

__all__ = ["GROUPS", "public_estimators", "reference"]

GROUPS: Mapping[str, str] = {
    "classifier": "Classifiers",
    "regressor": "Regressors",
    "transformer": "Transformers",
    "other": "Pipelines, searches and others",
}
"""The kinds of estimators by scikit-learn's name, and the titles of their sections."""

_INTRODUCTION = """\
# What is compiled

For each public estimator of scikit-learn, whether a model server computes it without scikit-learn
([which form answers](serving.md#which-form-answers)). Generated: `make docs` writes this page anew.
What isn't compiled answers as the pipeline that was trained. So does what is, if it has an option
that the compiler doesn't know: the deployment's certificate says which.

Everything that `prepare:` makes is compiled. Not compiled are several targets; probabilities of
LIBSVM's own (`SVC(probability=True)`, but `CalibratedClassifierCV(SVC())` is); `GradientBoosting*`
with an initial estimator of its own; functions that aren't NumPy's; where every column is a 32-bit
number, steps and models that add such numbers up, as linear ones do (trees, boosters, scalers and
imputers are compiled).
"""


def public_estimators() -> dict[str, list[str]]:
    """The names of scikit-learn's public estimators by kind, as it is installed."""
    from sklearn.utils import all_estimators

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {
            kind: [name for name, _ in all_estimators(type_filter=kind)]
            for kind in GROUPS
            if kind != "other"
        }
        known = {name for names in found.values() for name in names}
        clusters = {name for name, _ in all_estimators(type_filter="cluster")}
        found["other"] = [name for name, _ in all_estimators() if name not in known | clusters]
        found["other"] += sorted(clusters - known)
    return found


def reference() -> str:
    """The whole page."""
    transformers, estimators = compiled_names()
    lines = [_INTRODUCTION]
    for kind, names in public_estimators().items():
        known = transformers if kind == "transformer" else estimators | transformers
        compiled = [name for name in names if f"sklearn.{name}" in known]
        lines.append(f"## {GROUPS[kind]}\n")
        lines.append(f"Compiled: {_listed(compiled)}.\n")
        rest = [name for name in names if name not in compiled]
        lines.append(f"As the pipeline: {_listed(rest)}.\n")
    return "\n".join(lines).rstrip() + "\n"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference())

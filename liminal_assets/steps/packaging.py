"""A fitted pipeline as something that loads elsewhere: format, requirements, code, signature."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.storage.model_version import ModelVersion
from liminal_assets.storage.modules import modules_below, top_imports
from liminal_assets.storage.registry import ModelRegistry
from liminal_assets.storage.tracking import import_mlflow

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import ModelSignature

    from liminal_assets.steps.candidate import Candidate
    from liminal_assets.steps.train import Trained

__all__ = [
    "TRUSTED_TYPES",
    "Serialization",
    "code_of",
    "inputs_with_types",
    "pickle_warning",
    "requirements_of",
    "serialization_of",
    "signature_of",
    "typed_inputs",
]

TRUSTED_TYPES = (
    "functools.partial",
    "liminal_assets.steps.transformers.",
    "numpy.",
    "scipy.",
    "sklearn.",
)
"""Where the types of a pipeline may come from to be saved by skops, which runs no code of a file;
others go through cloudpickle."""

_ALWAYS = ("mlflow", "scikit-learn", "numpy", "scipy", "pandas", "liminal-assets")
_ALWAYS_MODULES = {"mlflow", "sklearn", "numpy", "scipy", "pandas", "liminal_assets"}


@dataclass(frozen=True)
class Serialization:
    """How a pipeline is written.

    Attributes:
        name: ``skops`` or ``cloudpickle``.
        trusted: the types that skops may make when it loads.
    """

    name: str
    trusted: list[str]

    @property
    def library(self) -> str:
        return self.name


def serialization_of(pipeline: Any) -> Serialization:
    """Skops where every type of the pipeline is scikit-learn's, NumPy's or ours and the pipeline
    comes back whole; cloudpickle otherwise."""
    found = _types(pipeline)
    if found is None or not all(name.startswith(TRUSTED_TYPES) for name in found):
        return Serialization("cloudpickle", [])
    return Serialization("skops", found)


def pickle_warning(registry: ModelRegistry, version: ModelVersion) -> str | None:
    """What it means that a version is written by cloudpickle instead of skops, why it is, and how
    to change that; None if it isn't."""
    described = import_mlflow().models.Model.load(str(version.folder()))
    said = described.flavors.get("sklearn", {}).get("serialization_format")
    if said not in ("cloudpickle", "pickle"):
        return None
    found = _types(registry.load(version))
    foreign = [name for name in found or () if not name.startswith(TRUSTED_TYPES)]
    if foreign:
        why = f"skops, which runs none, isn't used for {', '.join(foreign[:3])}: "
        how = "use types of scikit-learn's or steps of 'prepare:' instead"
    elif found is None:
        why = "skops, which runs none, can't write a part of it: "
        how = "use types of scikit-learn's or steps of 'prepare:' instead"
    else:
        why = "skops, which runs none, could write all of it: "
        how = "train it again, or register it with serialization_format='skops'"
    return (
        f"version {version.version} of {version.model} is written by {said}: whoever loads the "
        "file runs code that is in it, and other versions of Python or libraries may not load it. "
        f"{why}{how}. 'trust: skops_only' refuses such versions."
    )


def _types(pipeline: Any) -> list[str] | None:
    """The types of a pipeline that skops makes only when told to; None if it can't write it."""
    import skops.io

    try:
        return list(skops.io.get_untrusted_types(data=skops.io.dumps(pipeline)))
    except Exception:
        # skops raises what its parts raise about types that it can't write
        return None


def requirements_of(project: Project, candidate: Candidate, serializer: str) -> list[str]:
    """The libraries of a pipeline and of the user's modules, pinned to what is installed."""
    names = {*_ALWAYS, serializer}
    estimator = candidate.pipeline[-1]
    inner = getattr(estimator, "estimator", estimator)
    tops = {type(inner).__module__.partition(".")[0]}
    for path in _user_modules(project, candidate.model):
        tops |= top_imports(path)
    for top in tops - _ALWAYS_MODULES - set(sys.stdlib_module_names):
        names.update(_distributions().get(top, ())[:1])
    found = []
    for name in sorted(names):
        try:
            found.append(f"{name}=={importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            # run from a folder instead of an installation
            continue
    return found


@lru_cache(maxsize=1)
def _distributions() -> Mapping[str, Sequence[str]]:
    return importlib.metadata.packages_distributions()


@contextmanager
def code_of(project: Project, model: Model) -> Iterator[list[str]]:
    """The project's modules that a model is made of, as files and folders to log with it."""
    with tempfile.TemporaryDirectory(prefix="liminal-code-") as name:
        folder = Path(name)
        for path in _user_modules(project, model):
            target = folder / path.relative_to(project.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        yield [str(path) for path in sorted(folder.iterdir())]


def _user_modules(project: Project, model: Model) -> list[Path]:
    module = (model.python or "").partition(":")[0] or (model.estimator or "").rpartition(".")[0]
    found = modules_below(project.root, module)
    packages = {
        parent / "__init__.py"
        for path in found
        for parent in path.relative_to(project.root).parents
        if (project.root / parent / "__init__.py").is_file() and parent != Path()
    }
    return sorted({*found, *(project.root / path for path in packages)})


def signature_of(trained: Trained) -> ModelSignature:
    """The input columns and the answer, enforced when the model is asked through MLflow.

    Integers that may be null are doubles, as a null makes them; columns that may be null are
    optional.
    """
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types import ColSpec, Schema

    frame = inputs_with_types(trained)
    answers = trained.pipeline.predict(trained.inputs.head(5))
    with warnings.catch_warnings():
        # MLflow's hint about integers is heeded
        warnings.simplefilter("ignore")
        found = infer_signature(frame, answers)
    columns: list[Any] = [
        ColSpec(spec.type, spec.name, required=spec.name not in trained.nullable)
        for spec in found.inputs
    ]
    return ModelSignature(inputs=Schema(columns), outputs=found.outputs)


def inputs_with_types(trained: Trained) -> pd.DataFrame:
    """Input rows that tell the type of every column."""
    frame = typed_inputs(trained, 200)
    for column in trained.roles.categorical:
        if frame[column].dtype.kind == "O":
            # nulls alone have no type
            frame[column] = frame[column].fillna("")
    return frame


def typed_inputs(trained: Trained, rows: int) -> pd.DataFrame:
    """The first input rows, in the types that the signature has."""
    from liminal_assets.steps.transformers import as_texts

    frame = trained.inputs.head(rows).copy()
    learned = trained.rows.frame
    for column in frame.columns:
        kind = str(frame[column].dtype).lower()
        if kind.startswith("bool"):
            frame[column] = frame[column].fillna(value=False).astype(bool)
        elif kind.startswith(("int", "uint")):
            whole: Any = "int64" if learned[column].notna().all() else "float64"
            frame[column] = frame[column].astype(whole)
        elif column in trained.roles.categorical and not kind.startswith("float"):
            frame[column] = as_texts(frame[column])
    return frame

"""A fitted pipeline as something that loads elsewhere: format, requirements, code, signature."""

from __future__ import annotations

import importlib.metadata
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liminal_assets.language.loading import Project
from liminal_assets.language.models import Model
from liminal_assets.storage.modules import modules_below, top_imports

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

    from liminal_assets.steps.candidate import Candidate

__all__ = ["Serialization", "code_of", "requirements_of", "serialization_of", "signature_of"]

_TRUSTED = (
    "functools.partial",
    "liminal_assets.steps.transformers.",
    "numpy.",
    "scipy.",
    "sklearn.",
)
"""Where the types of a pipeline may come from to be saved by skops, which runs no code of a file;
others go through cloudpickle."""

_ALWAYS = ("mlflow", "scikit-learn", "numpy", "scipy", "pandas", "liminal-assets")


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
    import skops.io

    try:
        content = skops.io.dumps(pipeline)
        found = skops.io.get_untrusted_types(data=content)
    except Exception:
        # skops raises what its parts raise about types that it can't write
        return Serialization("cloudpickle", [])
    if all(name.startswith(_TRUSTED) for name in found):
        return Serialization("skops", list(found))
    return Serialization("cloudpickle", [])


def requirements_of(project: Project, candidate: Candidate, serializer: str) -> list[str]:
    """The libraries of a pipeline and of the user's modules, pinned to what is installed."""
    names = {*_ALWAYS, serializer}
    estimator = candidate.pipeline[-1]
    inner = getattr(estimator, "estimator", estimator)
    tops = {type(inner).__module__.partition(".")[0]}
    for path in _user_modules(project, candidate.model):
        tops |= top_imports(path)
    for top in tops - set(sys.stdlib_module_names):
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


def signature_of(candidate: Candidate) -> ModelSignature:
    """The input columns and the answer, enforced when the model is asked through MLflow.

    Integers are doubles, for a null makes doubles of them; columns that may be null are optional.
    """
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types import ColSpec, Schema

    frame = candidate.inputs.head(1000).copy()
    for column in frame.columns:
        kind = frame[column].dtype
        if str(kind) in ("bool", "boolean"):
            frame[column] = frame[column].fillna(value=False).astype(bool)
        elif kind.kind in "iuf":
            frame[column] = frame[column].astype(float)
        elif column in candidate.roles.categorical:
            frame[column] = frame[column].astype(object).where(frame[column].notna(), "")
            frame[column] = frame[column].map(str)
    answers = candidate.pipeline.predict(candidate.inputs.head(5))
    found = infer_signature(frame, answers)
    columns: list[Any] = [
        ColSpec(spec.type, spec.name, required=spec.name not in candidate.nullable)
        for spec in found.inputs
    ]
    return ModelSignature(inputs=Schema(columns), outputs=found.outputs)

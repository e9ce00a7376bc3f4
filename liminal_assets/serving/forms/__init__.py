"""Forms: what answers in a worker, read from the folder of a release.

| form | answers by | imports |
|---|---|---|
| ``numpy`` | what the pipeline computes, as NumPy operations and tables | NumPy |
| ``onnxruntime`` | the same, and trees as a graph on 64-bit floats | NumPy, ONNX Runtime |
| ``pipeline`` | the registered model itself | scikit-learn, pandas |

A form is made where the registry is (:mod:`liminal_assets.serving.releases.preparation`); here it
is only read, and nothing is imported that it doesn't need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, cast

from liminal_assets.errors import StepError

if TYPE_CHECKING:
    from liminal_assets.serving.model import Predictor
    from liminal_assets.serving.releases.release import Release

__all__ = ["load_form"]

_HOMES: Mapping[str, str] = {
    "numpy": "compiled",
    "onnxruntime": "compiled",
    "pipeline": "pipeline",
}
"""The module of each form."""


def load_form(release: Release) -> Predictor:
    """What answers for a release, in memory.

    Raises:
        StepError: its form isn't known here, or can't be loaded.
    """
    home = _HOMES.get(release.form)
    if home is None:
        raise StepError(
            f"version {release.version} of {release.name} has the unknown form {release.form!r}",
            hint="deploy the model again with this version of liminal-assets",
        )
    module = import_module(f"liminal_assets.serving.forms.{home}")
    load = cast("Callable[[Release], Predictor]", module.load)
    try:
        return load(release)
    except StepError:
        raise
    except Exception as error:
        # a library says in its own words what is wrong with a file
        raise StepError(
            f"version {release.version} of {release.name} can't be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error

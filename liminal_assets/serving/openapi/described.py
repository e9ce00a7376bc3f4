"""What a document of the server is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from liminal_assets.serving.config import Limits
from liminal_assets.serving.guards.auth import AuthConfig
from liminal_assets.serving.model import ServedModel
from liminal_assets.serving.protocols.routes import Called, Page, Scoring
from liminal_assets.steps.signature import Signature

if TYPE_CHECKING:
    from liminal_assets.serving.app import ServingApp

__all__ = ["Described"]

_ID = "01a20fa76bc6e154f164075511f7aeb5"


@dataclass(frozen=True)
class Described:
    """A server at one moment.

    Attributes:
        title: the deployment's name.
        model: the version that answers; None before the first.
        limits: how much may be asked for.
        routes: its paths.
        auth: who may ask; None: anyone.
        public: the paths that need neither key nor rate.
        candidate: the version that a rollout tries.
    """

    title: str
    model: ServedModel | None
    limits: Limits
    routes: tuple[Page | Scoring | Called, ...]
    auth: AuthConfig | None = None
    public: frozenset[str] = frozenset()
    candidate: ServedModel | None = None

    @classmethod
    def of(cls, app: ServingApp) -> Described:
        """A server as it is now."""
        guard, state = app.guard, app.live.state
        return cls(
            app.title,
            state.model,
            guard.limits,
            app.router.routes,
            guard.authenticator.config if guard.authenticator else None,
            guard.public,
            state.candidate,
        )

    @property
    def versions(self) -> list[str]:
        """Those that can be asked."""
        return [model.version for model in (self.model, self.candidate) if model]

    @cached_property
    def signature(self) -> Signature:
        """What the model takes; nothing before the first."""
        return self.model.signature if self.model else Signature(())

    @cached_property
    def row(self) -> Mapping[str, Any]:
        """A row that the model answers, as JSON has it."""
        return self.signature.as_json(self.model.example) if self.model else {}

    @cached_property
    def prediction(self) -> Mapping[str, Any]:
        """What the model says of that row."""
        if self.model is None:
            return {}
        columns = {name: [value] for name, value in self.model.example.items()}
        return {name: one.item() for name, one in self.model.predict(columns, 1).columns.items()}

    @cached_property
    def answer(self) -> Mapping[str, Any]:
        """The answer of ``/predict`` to that row."""
        if self.model is None:
            return {}
        return {
            "model": self.model.name,
            "model_version": self.model.version,
            "prediction_id": _ID,
            "predictions": [{**self.prediction, "prediction_id": _ID}],
        }

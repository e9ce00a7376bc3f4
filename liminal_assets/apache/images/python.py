"""``type: python``: the user's code with what its ``requirements.txt`` names."""

from __future__ import annotations

from liminal_assets.apache.images.dockerfiles import USER, PythonImageBuilder

__all__ = ["Python"]


class Python(PythonImageBuilder):
    """An image of a task's code on the official slim image.

    Packages are installed, and ``build_cmd`` runs, in a stage of its own that has a compiler; the
    image gets what came out of it. What changes seldom comes first, so that it is built once.
    """

    def dockerfile(self) -> str:
        base = self.base.image
        parts = [
            f"FROM {base} AS build",
            *([_COMPILER] if self.requirements or self.build_cmd else []),
            "RUN python -m venv /opt/venv",
            "ENV PATH=/opt/venv/bin:$PATH",
            "WORKDIR /app",
            *self.packages(),
            *self.code(),
            "",
            f"FROM {base}",
            _USER,
            _ENVIRONMENT,
            "COPY --from=build /opt/venv /opt/venv",
            f"COPY --from=build --chown={USER}:{USER} /app /app",
            "WORKDIR /app",
            self.labels(base),
            f"USER {USER}",
            *self.start(),
        ]
        return "\n".join(parts) + "\n"

    def packages(self) -> list[str]:
        """The instructions that install what the code needs."""
        if not self.requirements:
            return []
        return [
            "COPY requirements.txt /app/",
            f"{self.pip_install} -r requirements.txt",
        ]

    def code(self) -> list[str]:
        """The instructions that bring in the source, and build it."""
        build = [f"RUN {self.build_cmd}"] if self.build_cmd else []
        return ["COPY . /app/", *build]

    def start(self) -> list[str]:
        """The instructions that say what runs; a task's ``cmd`` does, so nothing by default."""
        return []


_COMPILER = """\
RUN apt-get update \\
    && apt-get install --yes --no-install-recommends build-essential \\
    && rm -rf /var/lib/apt/lists/*"""

_USER = f"""\
RUN useradd --uid {USER} --user-group --create-home liminal \\
    && mkdir /app && chown {USER}:{USER} /app"""

_ENVIRONMENT = """\
ENV PATH=/opt/venv/bin:$PATH \\
    PYTHONUNBUFFERED=1 \\
    PYTHONDONTWRITEBYTECODE=1"""

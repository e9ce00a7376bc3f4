"""Image builders: Dockerfiles, and the folders that images are built from."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from textwrap import dedent

import pytest

from liminal_assets.apache.images.finding import image_builder, image_mistakes
from liminal_assets.errors import StepError
from liminal_assets.serving import endpoints
from liminal_assets_tests.workflows import found, workflow_of

SERVER = """
    type: python_server
    source: app
    endpoints: [{endpoint: /greet, module: greeting, function: greet}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with sources in ``app``."""
    app = tmp_path / "project" / "app"
    app.mkdir(parents=True)
    (app / "main.py").write_text("print('here')\n")
    (app / "requirements.txt").write_text("requests==2.32.0\n")
    return app.parent


def built(folder: Path, image: str, rest: str = "") -> tuple[Path, list[tuple[str, str]]]:
    """The context of an image ``app``, and the instructions of its Dockerfile."""
    keys = dedent(image).strip().replace("\n", "\n    ")
    workflow = workflow_of(
        folder, f"name: shop\nowner: Ann\nimages:\n  - image: app\n    {keys}\n{dedent(rest)}"
    )
    spec = workflow.images["app"]
    context = folder.parent / "context"
    context.mkdir()
    image_builder(spec, workflow)(spec, workflow).write_context(context)
    return context, instructions((context / "Dockerfile").read_text())


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Each instruction and what follows it, on one line."""
    lines = re.sub(r"\\\n\s*", "", dockerfile).splitlines()
    assert all(re.match(r"[A-Z]+ ", line) for line in lines if line)
    return [(line.partition(" ")[0], line.partition(" ")[2]) for line in lines if line]


@pytest.mark.parametrize(
    ("image", "user"),
    [
        pytest.param("type: python\nsource: app", "10001", id="python"),
        pytest.param(SERVER, "10001", id="python_server"),
        pytest.param("type: spark\nsource: app", "185", id="spark"),
    ],
)
def test_an_image_runs_as_a_user_that_is_not_root(folder: Path, image: str, user: str) -> None:
    _, written = built(folder, image)
    assert [rest for name, rest in written if name == "USER"][-1] == user
    names = [name for name, _ in written]
    assert not {"COPY", "RUN", "ADD"} & set(names[len(names) - names[::-1].index("USER") :])


@pytest.mark.parametrize("image", ["type: python\nsource: app", SERVER, "type: spark\nsource: app"])
def test_packages_are_a_layer_that_a_change_of_the_source_keeps(folder: Path, image: str) -> None:
    _, written = built(folder, image)
    install = next(i for i, (_, rest) in enumerate(written) if "-r requirements.txt" in rest)
    source = next(i for i, (_, rest) in enumerate(written) if rest.endswith(". /app/"))
    assert install < source
    copies = [rest for name, rest in written[:install] if name == "COPY"]
    assert all("requirements.txt" in copy for copy in copies)


def test_the_compiler_stays_in_the_stage_that_needs_it(folder: Path) -> None:
    _, written = built(folder, "type: python\nsource: app\nbuild_cmd: make all")
    last = max(i for i, (name, _) in enumerate(written) if name == "FROM")
    assert any("build-essential" in rest for _, rest in written[:last])
    assert not any("apt-get" in rest for _, rest in written[last:])
    assert ("RUN", "make all") in written[:last]
    assert written.index(("COPY", ". /app/")) < written.index(("RUN", "make all"))


def test_without_packages_and_build_command_there_is_no_compiler(folder: Path) -> None:
    (folder / "app" / "requirements.txt").unlink()
    context, written = built(folder, "type: python\nsource: app")
    assert not any("apt-get" in rest for _, rest in written)
    assert not (context / "requirements.txt").exists()


def test_pip_conf_is_mounted_and_in_no_image(folder: Path) -> None:
    (folder / "app" / "pip.conf").write_text("[global]\n")
    (folder / "app" / "key").write_text("secret")
    context, written = built(
        folder,
        "type: python\nsource: app\npip_conf: app/pip.conf",
        "secrets: [{secret: key, local_path_file: app/key}]",
    )
    [install] = [rest for _, rest in written if "-r requirements.txt" in rest]
    assert install.startswith("--mount=type=secret,id=pip_config,target=/etc/pip.conf pip install")
    assert not (context / "pip.conf").exists()
    assert not (context / "key").exists()


@pytest.mark.parametrize(
    ("version", "base"),
    [
        pytest.param("", r"python:3\.12\.\d+-slim-bookworm", id="none"),
        pytest.param("'3.10'", r"python:3\.10\.\d+-slim-bookworm", id="minor"),
        pytest.param("3.13", r"python:3\.13\.\d+-slim-bookworm", id="number"),
        pytest.param("3.11.4", r"python:3\.11\.4-slim", id="patch"),
        pytest.param("3.8", r"python:3\.8\.20-slim-bookworm", id="old"),
    ],
)
def test_python_version_is_a_pinned_slim_image(folder: Path, version: str, base: str) -> None:
    key = f"\npython_version: {version}" if version else ""
    _, written = built(folder, f"type: python\nsource: app{key}")
    assert all(re.match(rf"{base}( AS build)?$", rest) for name, rest in written if name == "FROM")


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        pytest.param("python_version: 3.10", [(4, "invalid-value")], id="a number"),
        pytest.param("python_version: '2.7'", [(4, "invalid-value")], id="unknown"),
        pytest.param("python_version: '3.7'", [(4, "old-python")], id="ended"),
        pytest.param("pip_conf: nowhere", [(4, "missing-file")], id="pip_conf"),
        pytest.param("endpoints: 3", [(4, "invalid-type")], id="endpoints"),
        pytest.param("endpoints: [{endpoint: /a}]", [(4, "missing-key")] * 2, id="endpoint"),
        pytest.param(
            "endpoints: [&e {endpoint: /a, module: m, function: f}, *e]",
            [(4, "duplicate-name")],
            id="two",
        ),
    ],
)
def test_what_is_wrong_with_an_image_is_told_at_its_line(
    folder: Path, image: str, expected: list[tuple[int, str]]
) -> None:
    endpoints_key = "" if "endpoints" in image else "\n    endpoints: []"
    workflow = workflow_of(
        folder, f"name: shop\nimages:\n  - image: app\n    {image}\n    type: python_server\n"
        f"    source: app{endpoints_key}\n"
    )  # fmt: skip
    assert found(image_mistakes(workflow)) == expected


def test_a_server_answers_health_checks_and_takes_signals_itself(folder: Path) -> None:
    _, written = built(folder, SERVER)
    said = dict(written)
    assert json.loads(said["CMD"])[0] == "python"
    assert json.loads(said["HEALTHCHECK"].partition(" CMD ")[2])[-1] == "--check-health"
    assert said["EXPOSE"] == "80"


def test_an_image_is_labelled(folder: Path) -> None:
    _, written = built(folder, 'type: python\nsource: app\ndescription: a "b" costs $5')
    labels = dict(written)["LABEL"]
    assert 'org.opencontainers.image.title="app"' in labels
    assert r'org.opencontainers.image.description="a \"b\" costs \$5"' in labels
    assert 'org.opencontainers.image.authors="Ann"' in labels


def test_a_context_holds_the_source_and_no_litter(folder: Path) -> None:
    app = folder / "app"
    for name in (".git/HEAD", ".liminal/x", "venv/pyvenv.cfg", "sub/__pycache__/a.pyc", "sub/b.py"):
        (app / name).parent.mkdir(parents=True, exist_ok=True)
        (app / name).touch()
    (app / "Dockerfile").write_text("FROM nothing\n")
    context, written = built(folder, "type: python\nsource: app")
    files = {str(path.relative_to(context)) for path in context.rglob("*") if path.is_file()}
    assert files == {".dockerignore", "Dockerfile", "main.py", "requirements.txt", "sub/b.py"}
    assert ("FROM", "nothing") not in written


def test_what_the_source_ignores_does_not_hide_what_the_image_needs(folder: Path) -> None:
    (folder / "app" / ".dockerignore").write_text("*\n!main.py")
    context, _ = built(folder, SERVER)
    lines = (context / ".dockerignore").read_text().splitlines()
    assert lines[:2] == ["*", "!main.py"]
    assert lines.index("!.liminal-image") > 1


def test_a_missing_source_is_told_with_the_folder(folder: Path) -> None:
    with pytest.raises(StepError, match=r"liminal.yml:.*there is no folder .*/nowhere"):
        built(folder, "type: python\nsource: nowhere")


def test_a_plugin_builds_from_a_dockerfile_of_its_own(folder: Path) -> None:
    plugins = folder / "plugins" / "images"
    plugins.mkdir(parents=True)
    (plugins / "Dockerfile.julia").write_text("FROM julia:1.11\nCOPY . /app/\n")
    (plugins / "julia.py").write_text(
        dedent("""\
        from pathlib import Path
        from liminal_assets.plugins import ImageBuilder

        class Julia(ImageBuilder):
            def dockerfile(self):
                return Path(__file__).with_name("Dockerfile.julia")

            def additional_files(self):
                return {"conf/name.txt": self.tag}
        """)
    )
    context, written = built(folder, "type: julia\nsource: app")
    assert written == [("FROM", "julia:1.11"), ("COPY", ". /app/")]
    assert (context / "conf" / "name.txt").read_text() == "app"
    assert (context / "main.py").exists()


def test_the_server_that_images_get_runs_on_their_oldest_python() -> None:
    ast.parse(Path(endpoints.__file__).read_text(), feature_version=(3, 7))


def test_a_server_on_a_python_before_that_is_refused(folder: Path) -> None:
    with pytest.raises(StepError, match=r"the server needs Python 3.7 or later, not 3.6"):
        built(folder, SERVER + "    python_version: '3.6'")

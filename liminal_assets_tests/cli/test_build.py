"""``liminal build`` with engines that write down what they are asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from liminal_assets_tests.cli.conftest import Liminal

PROJECT = """\
name: shop
images:
  - {image: 'org/tool:2', type: python, source: tool, no_cache: true, pip_conf: pip.conf}
  - {image: broken, type: python, source: tool}
  - {image: nothing, type: python}
"""
ENGINE = """\
#!/bin/sh
case "$1" in
  build)
    for last; do :; done
    printf '%s\\n' "$@" > "$RECORD/$(basename "$0").$(cat "$last/Dockerfile" | grep -c FROM)"
    cp -r "$last" "$RECORD/context"
    echo "step 1 of $(basename "$0")"
    case "$*" in *broken*) exit 3 ;; esac ;;
  *) echo "5.0" ;;
esac
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with images, in which no engine is installed."""
    folder = tmp_path / "shop"
    (folder / "tool").mkdir(parents=True)
    (folder / "tool" / "main.py").touch()
    (folder / "pip.conf").touch()
    (folder / "liminal.yml").write_text(PROJECT)
    (tmp_path / "bin").mkdir()
    (tmp_path / "record").mkdir()
    for name in ("basename", "cat", "cp", "grep", "sh"):
        (tmp_path / "bin" / name).symlink_to(Path("/bin", name))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("RECORD", str(tmp_path / "record"))
    monkeypatch.chdir(folder)
    return folder


def install(project: Path, name: str, script: str = ENGINE) -> None:
    program = project.parent / "bin" / name
    program.write_text(script)
    program.chmod(0o755)


def recorded(project: Path, engine: str) -> list[str]:
    [file] = (project.parent / "record").glob(f"{engine}.*")
    return file.read_text().splitlines()


def test_it_hands_the_context_to_the_engine_and_shows_its_output(
    project: Path, liminal: Liminal
) -> None:
    install(project, "docker")
    done = liminal("build", "--image", "org/tool:2")
    assert done.code == 0, done.err
    assert "step 1 of docker\n" in done.out
    assert "org/tool:2: built in" in done.out
    arguments = recorded(project, "docker")
    assert arguments[:-1] == [
        "build",
        "--tag",
        "org/tool:2",
        "--progress=plain",
        "--no-cache",
        f"--secret=id=pip_config,src={project / 'pip.conf'}",
    ]
    context = project.parent / "record" / "context"
    assert {path.name for path in context.iterdir()} == {".dockerignore", "Dockerfile", "main.py"}
    assert not Path(arguments[-1]).exists()


@pytest.mark.parametrize(
    ("installed", "asked", "used"),
    [
        pytest.param(["docker", "podman"], [], "docker", id="the first"),
        pytest.param(["buildah"], [], "buildah", id="the only one"),
        pytest.param(["docker", "podman"], ["--engine", "podman"], "podman", id="asked for"),
    ],
)  # fmt: skip
def test_it_uses_the_engine_that_is_there(
    project: Path, liminal: Liminal, installed: list[str], asked: list[str], used: str
) -> None:
    for name in installed:
        install(project, name)
    assert liminal("build", "--image", "org/tool:2", *asked).code == 0
    format_of_health_checks = "--progress=plain" if used == "docker" else "--format=docker"
    assert format_of_health_checks in recorded(project, used)


def test_an_engine_that_does_not_answer_is_passed_over(project: Path, liminal: Liminal) -> None:
    install(project, "docker", "#!/bin/sh\necho Cannot connect to the daemon >&2\nexit 1\n")
    alone = liminal("build")
    assert alone.code == 1
    assert "docker is installed, but: Cannot connect to the daemon" in alone.err
    install(project, "podman")
    assert liminal("build", "--image", "org/tool:2").code == 0


def test_without_an_engine_it_says_so(project: Path, liminal: Liminal) -> None:
    done = liminal("build")
    assert (done.code, done.out) == (1, "")
    assert "there is no container engine on this machine" in done.err


def test_a_build_that_fails_is_code_1_and_keeps_no_other_from_being_built(
    project: Path, liminal: Liminal
) -> None:
    install(project, "docker")
    done = liminal("build", "--json")
    assert done.code == 1
    states = {item["image"]: item["state"] for item in json.loads(done.out)}
    assert states == {"org/tool:2": "built", "broken": "failed", "nothing": "skipped"}


def test_a_dry_run_writes_the_contexts_and_tells_the_commands(
    project: Path, liminal: Liminal, tmp_path: Path
) -> None:
    output = tmp_path / "contexts"
    done = liminal("build", "--dry-run", "--output", output)
    assert done.code == 0
    tool = output / "org_tool_2"
    assert (tool / "main.py").exists()
    command = "docker build --tag org/tool:2 --progress=plain --no-cache --secret=id=pip_config,"
    assert f"{command}src={project}/pip.conf {tool}\n" in done.out
    assert "nothing: skipped" in done.out
    (tool / "main.py").write_text("of an earlier run")
    assert liminal("build", "--dry-run", "--output", output).code == 0
    assert (tool / "main.py").read_text() == ""


def test_a_dry_run_takes_no_folder_that_holds_something_else(
    project: Path, liminal: Liminal, tmp_path: Path
) -> None:
    precious = tmp_path / "out" / "org_tool_2" / "precious"
    precious.parent.mkdir(parents=True)
    precious.touch()
    done = liminal("build", "--dry-run", "--output", tmp_path / "out")
    assert done.code == 1
    assert "is no build context of an earlier dry run" in done.err
    assert precious.exists()


def test_an_image_that_there_is_not_is_code_2(project: Path, liminal: Liminal) -> None:
    done = liminal("build", "--path", project, "--image", "org/tol:2")
    assert done.code == 2
    assert "did you mean 'org/tool:2'?" in done.err


def test_an_image_without_source_is_skipped_whatever_its_plugin(
    project: Path, liminal: Liminal
) -> None:
    plugin = project / "plugins" / "images" / "own.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text("from liminal.build.image_builder import ImageBuilder\n")
    text = "name: shop\nimages:\n  - {image: theirs, type: own}\n"
    (project / "liminal.yml").write_text(text)
    assert liminal("build", "--dry-run").out == "theirs: skipped, it has no 'source'\n"
    (project / "liminal.yml").write_text(text.replace("own}", "own, source: tool}"))
    done = liminal("build", "--dry-run")
    assert done.code == 1
    assert "the plugin 'own' was written for Apache Liminal" in done.err

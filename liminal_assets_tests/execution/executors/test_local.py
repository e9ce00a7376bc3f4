"""Tasks on one machine, in their image's source folder or by a container engine."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent
from zipfile import ZipFile

import pytest

from liminal_assets.errors import StepError
from liminal_assets.execution import engine_containers, logs, mounts
from liminal_assets.execution.executors.local import LocalExecutor
from liminal_assets.execution.namespaces import Bind
from liminal_assets.execution.plugins import executor_of, run_task
from liminal_assets.execution.plugins import task_of as made
from liminal_assets.execution.task import Mount
from liminal_assets_tests.workflows import RUN_ID, run_of, task_of

IMAGE = "images: [{image: app, type: python, source: src}]\n"


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No engine, no cluster, no state but that of the test."""
    for name in ("LIMINAL_EXECUTOR", "LIMINAL_HOME", "KUBERNETES_SERVICE_HOST", "env"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    monkeypatch.setenv("LIMINAL_ENGINE", "none")
    (tmp_path / "src").mkdir()


def task(command: str, more: str = "", *, image: str = "app") -> str:
    lines = indent(command.strip(), "  ")
    return f"type: python\nimage: {image}\ncmd: |\n{lines}\n{more}"


def outcome(folder: Path, keys: str, rest: str = IMAGE, seconds: float | None = None) -> list[str]:
    lines: list[str] = []
    spec, workflow = task_of(folder, keys, rest)
    run_task(spec, run_of(workflow, lines=lines, seconds=seconds))
    return [line for line in lines if not line.startswith("runs on this machine")]


def failure(folder: Path, keys: str, rest: str = IMAGE, seconds: float | None = None) -> StepError:
    with pytest.raises(StepError) as raised:
        outcome(folder, keys, rest, seconds)
    return raised.value


def test_a_command_runs_in_the_source_folder_of_its_image(tmp_path: Path) -> None:
    (tmp_path / "src" / "hello.py").write_text("import os; print(os.getcwd())")
    assert outcome(tmp_path, task("python hello.py")) == [str(tmp_path / "src")]


def test_a_command_without_image_runs_in_the_folder_of_the_file(tmp_path: Path) -> None:
    assert outcome(tmp_path, "type: python\ncmd: pwd") == [str(tmp_path)]


def test_python_and_pip_are_those_that_run_us(tmp_path: Path) -> None:
    command = "python -c 'import sys; print(sys.prefix)'; pip --version"
    prefix, pip = outcome(tmp_path, task(command))
    assert prefix == sys.prefix
    assert sys.prefix in pip


def test_its_environment_is_its_own_and_not_that_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_SECRET", "hidden")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    monkeypatch.setenv("LIMINAL_HOME", str(tmp_path))
    (tmp_path / "env").write_text("# comment\nB=file\nC=a=b\n")
    said = outcome(
        tmp_path, task("echo $A $B $C $env $TZ $DAGSTER_SECRET", "env_vars: {A: 1, B: task}")
    )
    assert said == ["1 file a=b default Europe/Berlin"]


def test_output_is_kept_in_a_file_per_run(tmp_path: Path) -> None:
    spec, workflow = task_of(tmp_path, task("echo one; echo two >&2"), IMAGE)
    run = run_of(workflow)
    run_task(spec, run)
    file = tmp_path / ".liminal" / "logs" / "shop" / "nightly" / "t" / f"{RUN_ID}.log"
    assert file.read_text() == "one\ntwo\n"
    assert run.results["log"] == str(file)


def test_a_failure_shows_exit_code_last_lines_and_the_command_in_the_file(tmp_path: Path) -> None:
    error = failure(tmp_path, task("for i in $(seq 40); do echo line $i; done; exit 7"))
    assert error.message.startswith("the task 't' ended with exit code 7\n  line 26\n")
    assert error.message.endswith("\n  line 40")
    assert error.location is not None
    assert error.location.line == 8
    assert f"{RUN_ID}.log" in (error.hint or "")


def test_a_missing_program_is_told_with_where_it_is_looked_for(tmp_path: Path) -> None:
    error = failure(tmp_path, task("no-such-program"))
    assert "exit code 127\n  /bin/bash: line 1: no-such-program: command not found" in error.message
    assert "looked for in PATH" in (error.hint or "")


@pytest.mark.parametrize(
    ("keys", "rest", "message", "hint"),
    [
        pytest.param(
            task("true"),
            "images: [{image: app, type: python, source: sorce}]",
            "the source of the image 'app' is no folder",
            "a path starts at",
            id="no source folder",
        ),
        pytest.param(
            task("true", image="amazon/aws-cli"),
            IMAGE,
            "'amazon/aws-cli' is not built from a folder of this project",
            "install docker or podman",
            id="foreign image",
        ),
        pytest.param(
            task("true", "mounts: [{volume: dat, path: /data}]"),
            f"{IMAGE}volumes: [{{volume: data, local: {{path: d}}}}]",
            "no volume is called 'dat'",
            "did you mean 'data'?",
            id="volume",
        ),
        pytest.param(
            task("true", "mounts: [{volume: data, path: data}]"),
            f"{IMAGE}volumes: [{{volume: data, local: {{path: d}}}}]",
            "must begin with '/'",
            "",
            id="relative path",
        ),
        pytest.param(
            task("true", "mounts: [{volume: data, path: /data, sub_path: ../x}]"),
            f"{IMAGE}volumes: [{{volume: data, local: {{path: d}}}}]",
            "leads out of its volume",
            "",
            id="sub path",
        ),
        pytest.param(
            task("true", "secrets: [{secret: aws, remote_path: /aws}]"),
            f"{IMAGE}secrets: [{{secret: aws}}]",
            "names no file of this machine",
            "local_path_file: ~/.aws/credentials",
            id="secret without a file",
        ),
        pytest.param(
            task("true", "secrets: [{secret: aws, remote_path: /aws}]"),
            f"{IMAGE}secrets: [{{secret: aws, local_path_file: nowhere}}]",
            "the file of the secret 'aws' isn't there",
            "",
            id="secret's file",
        ),
    ],
)
def test_what_is_missing_is_one_message_with_its_line(
    tmp_path: Path, keys: str, rest: str, message: str, hint: str
) -> None:
    error = failure(tmp_path, keys, rest)
    assert message in error.message
    assert hint in (error.hint or "")
    assert error.location is not None
    assert error.location.line > 5


def test_a_task_ends_with_the_time_of_its_pipeline(tmp_path: Path) -> None:
    started = time.monotonic()
    error = failure(tmp_path, task("echo begins; sleep 99"), seconds=0.5)
    assert "was ended" in error.message
    assert "timeout_minutes" in error.message
    assert time.monotonic() - started < 10


WORKERS = """
python - <<'END'
import os
print(os.environ["LIMINAL_SPLIT_ID"], "of", os.environ["LIMINAL_NUM_SPLITS"])
END
"""


def test_workers_run_at_once_each_with_its_index(tmp_path: Path) -> None:
    lines = outcome(tmp_path, task(WORKERS, "executors: 3"))
    assert sorted(lines) == ["[0] 0 of 3", "[1] 1 of 3", "[2] 2 of 3"]


def test_a_worker_that_fails_ends_the_others_and_is_named(tmp_path: Path) -> None:
    command = "[ $LIMINAL_SPLIT_ID = 1 ] || sleep 99; echo no; exit 5"
    started = time.monotonic()
    error = failure(tmp_path, task(command, "executors: 2"))
    assert error.message == "worker 1 of 2 of the task 't' ended with exit code 5\n  no"
    assert time.monotonic() - started < 10


def test_the_log_of_the_run_gets_so_many_lines_and_the_file_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_MOST_LINES", 3)
    lines = outcome(tmp_path, task("seq 10"))
    file = next((tmp_path / ".liminal" / "logs").rglob("*.log"))
    assert lines == ["1", "2", "3", f"… all further lines are in {file}"]
    assert file.read_text().split() == [str(i) for i in range(1, 11)]


VOLUMES = "volumes: [{volume: data, local: {path: ./data}}, {volume: claimed, claim_name: pvc}]\n"
SECRETS = "secrets: [{secret: aws, local_path_file: keys.txt}]\n"


def test_volumes_and_secrets_are_seen_where_the_task_says_and_nothing_stays(
    tmp_path: Path,
) -> None:
    (tmp_path / "data" / "in").mkdir(parents=True)
    (tmp_path / "data" / "in" / "rows.csv").write_text("1,2")
    (tmp_path / "keys.txt").write_text("secret key")
    point = tmp_path / "points"
    more = f"""
mounts:
  - {{volume: data, path: /liminal-test/vol}}
  - {{volume: data, path: {point}/part, sub_path: in, read_only: true}}
  - {{volume: claimed, path: /mnt/liminal-claimed}}
secrets:
  - {{secret: aws, remote_path: /liminal-test/secret}}
"""
    command = f"""
cat {point}/part/rows.csv /liminal-test/secret/credentials; echo
echo made > /liminal-test/vol/out.txt
echo kept > /mnt/liminal-claimed/note
touch {point}/part/no 2>/dev/null || echo read only
touch /liminal-test/secret/no 2>/dev/null || echo read only
"""
    if trouble := mounts.mount_trouble():  # a machine that allows no namespaces says so
        error = failure(tmp_path, task(command, more), IMAGE + VOLUMES + SECRETS)
        assert error.message.endswith(trouble)
        return
    lines = outcome(tmp_path, task(command, more), IMAGE + VOLUMES + SECRETS)
    assert lines == ["1,2secret key", "read only", "read only"]
    assert (tmp_path / "data" / "out.txt").read_text() == "made\n"
    assert (tmp_path / ".liminal" / "volumes" / "pvc" / "note").read_text() == "kept\n"
    assert not point.exists()
    assert not Path("/liminal-test").exists()
    assert not Path("/mnt/liminal-claimed").exists()


def test_the_folder_of_a_volume_is_made(tmp_path: Path) -> None:
    spec, workflow = task_of(tmp_path, "type: python", VOLUMES)
    [bind] = mounts.binds_of([Mount("data", "/data", "deep/er")], spec, workflow)
    assert bind == Bind("/data", str(tmp_path / "data" / "deep" / "er"))
    assert Path(bind.source).is_dir()


def test_where_nothing_can_be_mounted_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "mount_trouble", lambda: "Operation not permitted")
    keys = task("true", "mounts: [{volume: data, path: /liminal-test}]")
    error = failure(tmp_path, keys, IMAGE + VOLUMES)
    assert error.message == (
        "/liminal-test can't be mounted for 't' on this machine: Operation not permitted"
    )
    assert "ln -s" in (error.hint or "")


def test_a_path_that_is_the_volume_already_needs_no_mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mounts, "mount_trouble", lambda: "Operation not permitted")
    (tmp_path / "link").symlink_to(tmp_path / "data")
    keys = task("echo y > out", f"mounts: [{{volume: data, path: {tmp_path}/link}}]")
    keys = keys.replace("> out", f"> {tmp_path}/link/out")
    outcome(tmp_path, keys, IMAGE + VOLUMES)
    assert (tmp_path / "data" / "out").read_text() == "y\n"


def wheel(folder: Path, name: str, module: str) -> None:
    folder.mkdir(exist_ok=True)
    info = f"{name}-1.0.dist-info"
    with ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{name}.py", module)
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.mark.slow
def test_requirements_that_are_not_met_get_a_virtual_environment_made_once(tmp_path: Path) -> None:
    wheel(tmp_path / "wheels", "liminal_test_words", "HELLO = 'from the wheel'")
    requirements = f"--no-index\n--find-links {tmp_path}/wheels\nliminal_test_words==1.0\n"
    (tmp_path / "src" / "requirements.txt").write_text(requirements)
    keys = task(
        "python -c 'import liminal_test_words as w; print(w.HELLO)'; pip list --format freeze"
    )
    first, second = outcome(tmp_path, keys), outcome(tmp_path, keys)
    assert "asks for liminal_test_words==1.0" in first[0]
    assert first[-2:] == second == ["from the wheel", "liminal_test_words==1.0"]


def test_requirements_that_are_met_cost_nothing(tmp_path: Path) -> None:
    (tmp_path / "src" / "requirements.txt").write_text(
        "pandas>=2  # rows\n-r more.txt\nno-such-thing; python_version < '3'\n"
    )
    (tmp_path / "src" / "more.txt").write_text("PyYAML\n")
    assert outcome(tmp_path, task("echo ok")) == ["ok"]
    assert not (tmp_path / ".liminal" / "environments").exists()


@pytest.mark.slow
def test_versions_that_do_not_install_give_way_to_those_that_are_here(tmp_path: Path) -> None:
    (tmp_path / "src" / "requirements.txt").write_text("--no-index\npytest==0.0.1\n")
    first, second = (outcome(tmp_path, task("echo ran")) for _ in range(2))
    instead = f"they can't be installed here; the task runs with pytest {pytest.__version__}"
    assert first[-2:] == [instead, "ran"]
    assert second[1:] == [instead, "ran"]  # pip isn't asked again


def test_apache_liminal_itself_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "src" / "requirements.txt").write_text("apache-liminal==0.0.2\npandas\n")
    assert outcome(tmp_path, task("echo ok")) == ["ok"]


ENGINE = """#!/bin/bash
# A container engine at the edge of the machine: runs the command here and tells what it was asked.
echo "$@" >> {folder}/asked
case "$1" in
  version|info) echo 1.0 ;;
  image) [ "$3" != missing ] ;;
  run)
    while [ "$1" != --entrypoint ]; do shift; done
    program=$2; shift 3
    exec "$program" "$@" ;;
esac
"""


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(ENGINE.format(folder=tmp_path))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.delenv("LIMINAL_ENGINE")
    engine_containers._asked.cache_clear()
    yield tmp_path / "asked"
    engine_containers._asked.cache_clear()


def test_with_an_engine_the_image_itself_runs(tmp_path: Path, docker: Path) -> None:
    (tmp_path / "keys.txt").write_text("key")
    more = (
        "env_vars: {WORD: 'a secret', PATH: '/usr/bin:/bin'}\n"
        "mounts: [{volume: data, path: /data, read_only: true}]\n"
        "secrets: [{secret: aws, remote_path: /aws}]\n"
        "executors: 2\n"
    )
    lines = outcome(
        tmp_path, task('echo "$WORD" $LIMINAL_SPLIT_ID', more), IMAGE + VOLUMES + SECRETS
    )
    assert sorted(lines) == [
        "[0] a secret 0",
        "[1] a secret 1",
        "runs the image app by docker",
    ]
    asked = docker.read_text()
    run = next(line for line in asked.splitlines() if line.startswith("run"))
    assert "a secret" not in run
    assert "--env PATH=/usr/bin:/bin" in run
    assert f"--mount type=bind,source={tmp_path}/data,target=/data,readonly" in run
    assert f"source={tmp_path}/keys.txt,target=/aws/credentials,readonly" in run
    assert "--entrypoint /bin/bash app -c echo" in run
    assert asked.count("rm --force liminal-nightly-t-8a5c0d9e-") == 2


def test_a_container_is_removed_when_its_time_is_over(tmp_path: Path, docker: Path) -> None:
    failure(tmp_path, task("sleep 99"), seconds=1.0)
    assert "rm --force liminal-nightly-t-8a5c0d9e-0-" in docker.read_text()


def test_an_image_that_is_not_built_is_told(tmp_path: Path, docker: Path) -> None:
    error = failure(tmp_path, task("true", image="missing"), IMAGE.replace("app", "missing"))
    assert "the image 'missing' isn't built" in error.message
    assert "liminal build" in (error.hint or "")


def test_an_executor_may_do_without_the_engine_that_there_is(tmp_path: Path, docker: Path) -> None:
    keys = task("pwd", "executor: here")
    rest = f"{IMAGE}executors: [{{executor: here, type: local, engine: none}}]"
    assert outcome(tmp_path, keys, rest) == [str(tmp_path / "src")]


def test_an_unknown_engine_is_told_at_its_line(tmp_path: Path) -> None:
    spec, workflow = task_of(
        tmp_path,
        task("true", "executor: here"),
        f"{IMAGE}executors: [{{executor: here, type: local, engine: dockr}}]",
    )
    [mistake] = LocalExecutor.check(workflow.executors["here"], workflow)
    assert mistake.hint == "did you mean 'docker'?"
    executor = executor_of(made(spec, workflow), workflow)
    with pytest.raises(StepError, match="'dockr' is no container engine") as raised:
        executor.execute(made(spec, workflow), run_of(workflow))
    assert raised.value.location == mistake.location

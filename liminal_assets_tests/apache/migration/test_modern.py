"""A modern file says what the old one said, leaves decisions to the user, and is valid."""

from __future__ import annotations

from pathlib import Path

import pytest

from liminal_assets.apache.migration import Mended, mend, modernised, read_sources
from liminal_assets.apache.migration.estimators import Estimator, estimator_in, program_of
from liminal_assets.cli.main import _run
from liminal_assets.language.loading import Project, load_project
from liminal_assets_tests.apache.conftest import Write

TRAINING = """\
from sklearn.ensemble import RandomForestClassifier as Forest
model = Forest(n_estimators=20, random_state=SEED)
"""
APACHE = """\
name: my-flowers # as it was called
owner: Grace Hopper
images:
  - image: flowers
    type: python_server
    source: code
    endpoints: [{endpoint: /predict, module: serving, function: predict}]
pipelines:
  - pipeline: learn-flowers
    schedule: 0 3 * * *
    tasks:
      - {task: clean, type: python, image: flowers, cmd: python clean.py}
      - {task: train, type: python, image: flowers, cmd: python -u training.py}
      - {task: validate, type: python, image: flowers, cmd: python judge.py}
  - {pipeline: tidy_up, tasks: [{task: sweep, type: python, image: flowers, cmd: rm -r x}]}
services:
  - {service: flower_server, image: flowers}
"""


def _modern(folder: Path) -> Mended:
    mended = mend(read_sources(folder))
    assert mended is not None
    return modernised(mended)


def _written(folder: Path) -> Project:
    """The project after its modern files were written."""
    for file, text in _modern(folder).changed.items():
        file.write_text(text)
    return load_project(folder)


@pytest.fixture
def flowers(write: Write) -> Path:
    return write({"liminal.yml": APACHE, "code/training.py": TRAINING})


def test_what_trains_becomes_a_model_and_what_serves_a_deployment(flowers: Path) -> None:
    spec = _written(flowers).spec
    [dataset], [model], [deployment] = spec.datasets, spec.models, spec.deployments
    assert dataset.after == ("learn-flowers/clean",)
    assert (model.name, model.features) == ("learn_flowers_model", dataset.name)
    assert (model.estimator, model.params) == (
        "sklearn.ensemble.RandomForestClassifier",
        {"n_estimators": 20},
    )
    assert (deployment.name, deployment.model) == ("flower_server_api", model.name)


def test_the_schedule_is_carried_over_and_waits_until_all_is_decided(flowers: Path) -> None:
    [schedule] = _written(flowers).spec.schedules
    assert (schedule.cron, schedule.refresh) == ("0 3 * * *", ("flower_server_api",))
    assert not schedule.running


def test_the_pipelines_stay(flowers: Path) -> None:
    project = _written(flowers)
    assert project.workflow is not None
    assert list(project.workflow.pipelines) == ["learn-flowers", "tidy_up"]
    assert APACHE.split("images:")[1] in (flowers / "liminal.yml").read_text()


def test_names_and_owners_are_such_as_ours_can_be_and_what_they_were_is_said(flowers: Path) -> None:
    _written(flowers)
    assert (flowers / "liminal.yml").read_text().splitlines()[:2] == [
        "name: my_flowers # as it was called",
        "owner: team:Grace_Hopper # was: Grace Hopper",
    ]


def test_each_decision_has_its_place(flowers: Path) -> None:
    [file, steps] = _modern(flowers).changed.values()
    todo = [line.strip() for line in file.splitlines() if "TODO:" in line]
    assert len(todo) == 6
    assert "# TODO: params that are computed there: random_state" in todo
    assert any("what learn-flowers/validate checked" in line for line in todo)
    assert "raise NotImplementedError" in steps


def test_it_has_no_mistakes(flowers: Path, capfd: pytest.CaptureFixture[str]) -> None:
    _written(flowers)
    assert _run(["validate", "--project", str(flowers), "--json"]) == 0
    assert capfd.readouterr().out == "[]\n"


def test_variables_of_a_super_are_the_pipelines_own(write: Write) -> None:
    task = "{task: train, type: python, cmd: 'x {{place}}'}"
    folder = write(
        {
            "liminal.yml": f"""\
                name: x
                super: upper
                variables: {{place: '{{{{root}}}}/rows'}}
                pipelines:
                  - {{pipeline: p, tasks: [{task}]}}
            """,
            "upper/liminal.yml": "{name: upper, type: super, variables: {root: /mnt}}",
        }
    )
    workflow = _written(folder).workflow
    assert workflow is not None
    assert workflow.tasks["p/train"].get("cmd") == "x /mnt/rows"


def test_twice_is_once(flowers: Path) -> None:
    _written(flowers)
    assert _modern(flowers).changed == {}


def test_a_module_that_is_there_is_not_replaced(flowers: Path) -> None:
    (flowers / "my_flowers_steps.py").write_text("mine = 1")
    _written(flowers)
    assert (flowers / "my_flowers_steps.py").read_text() == "mine = 1"
    assert "my_flowers_steps2:" in (flowers / "liminal.yml").read_text()


@pytest.mark.parametrize(
    ("task", "model"),
    [
        pytest.param("{task: retrain, type: python, cmd: x}", True, id="by name"),
        pytest.param("{task: first, type: python, cmd: python fit_model.py}", True,
                     id="by command"),
        pytest.param("{task: clean, type: python, cmd: python main.py --training rows}", True,
                     id="by an argument"),
        pytest.param("{task: train_station, type: sql, query: SELECT 1}", False, id="no program"),
        pytest.param("{task: validate, type: python, cmd: python training.py check}", False,
                     id="a name that says something else"),
        pytest.param("{task: restrain, type: python, cmd: profit}", False, id="parts of words"),
    ],
)  # fmt: skip
def test_a_model_is_where_a_task_trains(write: Write, task: str, model: bool) -> None:
    folder = write(f"name: x\npipelines:\n  - pipeline: p\n    tasks: [{task}]\n")
    assert bool(_modern(folder).changed) is model


def test_what_the_program_does_not_say_is_a_placeholder_that_says_so(write: Write) -> None:
    folder = write(
        "name: x\npipelines:\n  - pipeline: p\n    tasks: [{task: train, type: python}]\n"
    )
    [model] = _written(folder).spec.models
    assert model.estimator == "sklearn.dummy.DummyClassifier"


def test_a_file_in_braces_is_left(write: Write) -> None:
    task = "{task: train, type: python}"
    modern = _modern(write(f"{{name: x, pipelines: [{{pipeline: p, tasks: [{task}]}}]}}"))
    assert modern.changed == {}
    assert [finding.code for finding in modern.left] == ["in-braces"]


def test_a_server_of_several_models_asks_which(write: Write) -> None:
    tasks = "[{task: train, type: python, image: other}]"
    folder = write(f"""\
        name: x
        images: [{{image: i, type: python_server, source: ., endpoints: []}}]
        pipelines:
          - {{pipeline: p, tasks: {tasks}}}
          - {{pipeline: q, tasks: {tasks}}}
        services: [{{service: s, image: i}}]
    """)
    [deployment] = _written(folder).spec.deployments
    assert deployment.model == "p_model"
    assert "# TODO: is it this model, or q_model?" in (folder / "liminal.yml").read_text()


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from sklearn.svm import SVC\nSVC(C=2.0)", Estimator("sklearn.svm.SVC", {"C": 2.0})),
        ("from sklearn import svm\nsvm.SVC()", Estimator("sklearn.svm.SVC")),
        ("import sklearn.svm as s\ns.SVC(1, *a, gamma=g, **k)",
         Estimator("sklearn.svm.SVC", {}, ("*", "gamma", "**"))),
        ("from sklearn.svm import SVC, SVR\nSVC(), SVR()", None),
        ("from sklearn.preprocessing import StandardScaler\nStandardScaler()", None),
        ("from sklearn.tree import export_text\nexport_text()", None),
        ("class SVC: ...\nSVC()", None),
        ("not python", None),
    ],
)  # fmt: skip
def test_an_estimator_is_read_from_the_source(
    tmp_path: Path, source: str, found: Estimator | None
) -> None:
    (tmp_path / "train.py").write_text(source)
    assert estimator_in(tmp_path / "train.py") == found


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("python -u training.py train", "training.py"),
        ("python -m training", None),
        ("echo 'unfinished", None),
    ],
)
def test_a_command_names_its_program(command: str, program: str | None) -> None:
    assert program_of(command) == program

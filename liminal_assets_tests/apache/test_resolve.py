"""The features of Apache Liminal's files one by one: written out, and as the original has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from liminal_assets.apache import resolve_projects
from liminal_assets_tests.apache.conftest import Write
from liminal_assets_tests.apache.original import Original

ENVIRON = {"REGION": "north"}


def _final(folder: Path, original: Original, name: str = "mine", **options: Any) -> dict[str, Any]:
    """One file's final configuration, the same in the original."""
    ours = {
        project.name: project.as_dict()
        for project in resolve_projects(folder, environ=ENVIRON, **options)
    }
    assert ours == original.resolve(folder, environ=ENVIRON, **options)
    return ours[name]


def _tasks(final: dict[str, Any], pipeline: int = 0) -> list[str]:
    return [task["task"] for task in final["pipelines"][pipeline]["tasks"]]


def test_every_job_reports_its_start_and_end_by_the_base(write: Write, original: Original) -> None:
    folder = write("""
        name: mine
        pipelines:
          - pipeline: nightly
            tasks:
              - {task: work, type: python, cmd: python work.py}
    """)
    final = _final(folder, original)
    assert final["pipelines"] == [
        {
            "pipeline": "nightly",
            "description": "add defaults parameters for all pipelines",
            "tasks": [
                {"task": "start", "type": "job_start", "executor": "airflow_executor"},
                {
                    "task": "work",
                    "type": "python",
                    "cmd": "python work.py",
                    "executor": "default_k8s",
                },
                {"task": "end", "type": "job_end", "executor": "airflow_executor"},
            ],
        }
    ]
    assert [item["executor"] for item in final["executors"]] == ["default_k8s", "airflow_executor"]
    assert (final["type"], final["images"], final["services"]) == ("sub", [], [])


def test_tasks_of_supers_lie_around_those_of_a_pipeline_the_uppermost_outermost(
    write: Write, original: Original
) -> None:
    folder = write(
        {
            "liminal.yml": """
                name: mine
                super: team
                pipelines: [{pipeline: p, tasks: [{task: work, type: python}]}]
            """,
            "team/liminal.yml": """
                name: team
                type: super
                super: company
                pipeline_defaults:
                  before_tasks: [{task: team_first, type: python}]
                  after_tasks: [{task: team_last, type: python}]
            """,
            "company/liminal.yaml": """
                name: company
                type: super
                pipeline_defaults:
                  before_tasks: [{task: company_first, type: python}]
                  after_tasks: [{task: company_last, type: python}]
            """,
        }
    )
    assert _tasks(_final(folder, original)) == [
        *("start", "company_first", "team_first", "work", "team_last", "company_last", "end")
    ]


def test_a_pipeline_without_tasks_gets_those_of_the_defaults(
    write: Write, original: Original
) -> None:
    folder = write("""
        name: mine
        pipeline_defaults:
          timeout_minutes: 30
          tasks: [{task: usual, type: python}]
        pipelines:
          - {pipeline: a}
          - {pipeline: b, timeout_minutes: 5, tasks: [{task: own, type: python}]}
    """)
    final = _final(folder, original)
    assert (_tasks(final, 0), _tasks(final, 1)) == (
        ["start", "usual", "end"],
        ["start", "own", "end"],
    )
    assert [pipeline["timeout_minutes"] for pipeline in final["pipelines"]] == [30, 5]


def test_task_defaults_of_a_type_merge_key_by_key_and_the_nearest_wins(
    write: Write, original: Original
) -> None:
    folder = write(
        {
            "liminal.yml": """
                name: mine
                super: upper
                task_defaults: {python: {env_vars: {a: mine, b: mine}}}
                pipelines:
                  - pipeline: p
                    tasks:
                      - {task: t, type: python, env_vars: {a: task}}
                      - {task: u, type: spark}
            """,
            "upper/liminal.yml": """
                name: upper
                type: super
                task_defaults: {python: {image: usual, env_vars: {b: upper, c: upper}}}
            """,
        }
    )
    _, task, other, _ = _final(folder, original)["pipelines"][0]["tasks"]
    assert task["env_vars"] == {"a": "task", "b": "mine", "c": "upper"}
    assert (task["image"], task["executor"]) == ("usual", "default_k8s")
    assert other == {"task": "u", "type": "spark", "executor": "default_k8s"}


def test_executors_and_images_merge_by_name_and_the_super_wins(
    write: Write, original: Original
) -> None:
    folder = write(
        {
            "liminal.yml": """
                name: mine
                super: upper
                executors:
                  - {executor: k8s, type: kubernetes, namespace: mine, labels: {team: a}}
                  - {executor: emr, type: emr}
                images: [{image: app, no_cache: true}, {image: own, type: python, source: .}]
            """,
            "upper/liminal.yml": """
                name: upper
                type: super
                executors: [{executor: k8s, namespace: upper, labels: {cost: b}}]
                images: [{image: app, type: python, source: app, no_cache: false}]
            """,
        }
    )
    final = _final(folder, original)
    by_name = {item["executor"]: item for item in final["executors"]}
    assert list(by_name) == ["default_k8s", "airflow_executor", "k8s", "emr"]
    assert by_name["k8s"] == {
        "executor": "k8s",
        "type": "kubernetes",
        "namespace": "upper",
        "labels": {"cost": "b", "team": "a"},
    }
    assert final["images"] == [
        {"image": "app", "type": "python", "source": "app", "no_cache": False},
        {"image": "own", "type": "python", "source": "."},
    ]


def test_services_take_service_defaults(write: Write, original: Original) -> None:
    folder = write(
        {
            "liminal.yml": """
                name: mine
                super: upper
                service_defaults: {image: mine, replicas: {least: 1}}
                services: [{service: a, image: own}, {service: b, replicas: {most: 3}}]
            """,
            "upper/liminal.yml": "{name: upper, type: super, service_defaults: {image: upper}}",
        }
    )
    first, second = _final(folder, original)["services"]
    assert (first["image"], second["image"]) == ("own", "mine")
    assert second["replicas"] == {"most": 3, "least": 1}
    assert second["description"] == "add defaults parameters for all services"


def test_a_section_replaces_the_same_section_of_its_super_in_what_is_printed(
    write: Write, original: Original
) -> None:
    folder = write(
        {
            "liminal.yml": """
                {name: mine, super: upper, volumes: [{volume: own}], variables: {a: 1}}
            """,
            "upper/liminal.yml": """
                name: upper
                type: super
                owner: data
                volumes: [{volume: shared}]
                variables: {b: 2}
                metrics: {namespace: Ours}
            """,
        }
    )
    final = _final(folder, original)
    assert final["volumes"] == [{"volume": "own"}]
    assert final["variables"] == {"a": 1}
    assert (final["owner"], final["metrics"]) == ("data", {"namespace": "Ours"})


@pytest.mark.parametrize(
    ("variables", "written", "text"),
    [
        pytest.param("{a: x}", "{{a}}", "x", id="plain"),
        pytest.param("{a: x}", "{{  a }} and {{a }}", "x and x", id="spaces"),
        pytest.param("{my-var: x, my.var: y, my_var: z}", "{{my-var}}{{my.var}}{{my_var}}", "xyz",
                     id="dashes, dots and underscores"),
        pytest.param("{a: '{{b}}1', b: '{{c}}2', c: x}", "{{a}}", "x21", id="nested"),
        pytest.param("{c: x, b: '{{c}}2', a: '{{b}}1'}", "{{a}}", "x21", id="nested, top down"),
        pytest.param("{n: 3, a: '{{n}}'}", "{{a}}-{{n}}", "3-3", id="numbers"),
        pytest.param("{n: on, d: 2020-01-02}", "{{n}} {{d}}", "True 2020-01-02", id="1.1's words"),
        pytest.param("{}", "{{REGION}}", "north", id="the environment"),
        pytest.param("{REGION: mine}", "{{REGION}}", "mine", id="variables before the environment"),
        pytest.param("{a: '{{REGION}}er'}", "{{a}}", "norther", id="the environment, nested"),
        pytest.param("{a: x}", "{{{a}}}", "{x}", id="braces around"),
        pytest.param("{}", "{{nowhere}}", "{{nowhere}}", id="unresolved"),
        pytest.param("{a b: x}", "{{a b}}", "{{a b}}", id="no name"),
        pytest.param("{a: null}", "<{{a}}>", "<None>", id="null"),
        pytest.param("{b: '<{{a}}>', a: null}", "{{b}}", "<>", id="null, from above"),
        pytest.param(
            "{a: '{{b}}', b: '{{c}}', c: '{{d}}', d: '{{e}}', e: x}", "{{a}}", "{{e}}",
            id="a chain that is too long",
        ),
    ],
)  # fmt: skip
def test_placeholders_are_replaced(
    write: Write, original: Original, variables: str, written: str, text: str
) -> None:
    folder = write(f"""
        name: mine
        type: sub
        variables: {variables}
        made_up: ['{written}', {{k: '{written}'}}]
        '{{{{a}}}}': keys stay
    """)
    final = _final(folder, original)
    assert final["made_up"] == [text, {"k": text}]
    assert final["{{a}}"] == "keys stay"


def test_placeholders_take_the_variables_of_supers_after_those_of_the_file(
    write: Write, original: Original
) -> None:
    folder = write(
        {
            "liminal.yml": """
                {name: mine, super: upper, variables: {a: mine}, made_up: '{{a}} {{b}} {{c}}'}
            """,
            "upper/liminal.yml": """
                {name: upper, type: super, super: top, variables: {a: upper, b: '{{a}}s'}}
            """,
            "top/liminal.yml": "{name: top, type: super, variables: {b: top, c: top}}",
        }
    )
    assert _final(folder, original)["made_up"] == "mine mines top"


def test_without_rendering_placeholders_stay_and_all_variables_are_shown(
    write: Write, original: Original
) -> None:
    folder = write(
        {
            "liminal.yml": "{name: mine, super: upper, variables: {a: 1}, made_up: '{{a}}'}",
            "upper/liminal.yml": "{name: upper, type: super, variables: {a: 2, b: 3}}",
        }
    )
    final = _final(folder, original, render=False)
    assert (final["made_up"], final["variables"]) == ("{{a}}", {"a": 1, "b": 3})


def test_a_super_may_be_a_file_that_is_none(write: Write, original: Original) -> None:
    folder = write(
        {
            "liminal.yml": "{name: mine, super: other, pipelines: [{pipeline: p}]}",
            "other/liminal.yml": """
                name: other
                variables: {a: x}
                owner: '{{a}}'
                pipeline_defaults: {before_tasks: [{task: first, type: python}]}
            """,
        }
    )
    final = _final(folder, original)
    assert final["owner"] == "x"
    assert _tasks(final) == ["first"]


def test_values_are_read_as_yaml_1_1(write: Write, original: Original) -> None:
    import datetime

    folder = write("""
        name: mine
        services: []
        made_up: {date: 1970-01-01, yes_word: yes, octal: 017, quoted: '017', 5: five, exp: 1e3}
    """)
    assert _final(folder, original)["made_up"] == {
        "date": datetime.date(1970, 1, 1),
        "yes_word": True,
        "octal": 15,
        "quoted": "017",
        5: "five",
        "exp": "1e3",
    }


def test_values_keep_the_place_where_they_were_written(write: Write) -> None:
    folder = write(
        {
            "liminal.yml": "name: mine\nsuper: upper\npipelines:\n  - pipeline: p\n",
            "upper/liminal.yml": "name: upper\ntype: super\npipeline_defaults:\n  owner: data\n",
        }
    )
    [project] = resolve_projects(folder)
    [pipeline] = project.configuration["pipelines"]
    assert str(pipeline.values_at["pipeline"]) == f"{folder}/liminal.yml:4:15"
    assert str(pipeline.values_at["owner"]) == f"{folder}/upper/liminal.yml:4:10"


def test_resolving_leaves_what_was_read_as_it_is(write: Write) -> None:
    from liminal_assets.apache import examine_projects, find_apache

    tree = find_apache(write("{name: mine, variables: {a: 1}, pipelines: [{pipeline: '{{a}}'}]}"))
    assert tree is not None
    first, second = examine_projects(tree), examine_projects(tree)
    assert tree.documents[0]["pipelines"] == [{"pipeline": "{{a}}"}]
    assert first.projects[0].as_dict() == second.projects[0].as_dict()

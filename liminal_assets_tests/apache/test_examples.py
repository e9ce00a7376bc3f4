"""Whole projects in the style of Apache Liminal's examples: valid, and resolved as there."""

from __future__ import annotations

import pytest

from liminal_assets.apache import examine_projects, find_apache
from liminal_assets_tests.apache.conftest import Write
from liminal_assets_tests.apache.original import Original

GREETING = """
    ---
    name: Greetings
    volumes:
      - volume: shared_files
        claim_name: shared_files-claim
        local: {path: ./files}
    variables: {tone: kind}
    images:
      - {image: greeter, type: python, source: greeter}
      - image: greeter_server
        type: python_server
        source: server
        endpoints:
          - {endpoint: /greet, module: server, function: greet}
    pipelines:
      - pipeline: greet_everyone
        owner: Ada Lovelace
        start_date: 1970-01-01
        timeout_minutes: 15
        schedule: 0 6 * * *
        default_text: checked
        default_numbers: [1, 2]
        default_mapping: {one: 1}
        metrics: {namespace: Greetings, backends: []}
        tasks:
          - task: greet
            type: python
            image: greeter
            env_vars: {TONE: '{{tone}}', TIMES: 2}
            mounts:
              - {mount: files, volume: shared_files, path: /mnt/files}
            cmd: python -u greet.py
            executors: 3
          - task: count
            type: python
            description: reads what the first one wrote
            image: greeter
            mounts:
              - {mount: files, volume: shared_files, path: /mnt/files, read_only: true}
            cmd: python -u count.py
    services:
      - {service: greeter_api, description: greets by HTTP, image: greeter_server}
"""

SPARK = {
    "liminal.yml": """
        name: Petals
        super: SparkHere
        variables:
          measured: '{{storage}}/measured/'
          program: measure.py
        images:
          - {image: team/petals, type: python_server, source: ., endpoints: []}
        task_defaults:
          python:
            mounts: [{mount: files, volume: petals, path: /mnt/petals}]
        pipelines:
          - pipeline: petals
            start_date: 1970-01-01
            timeout_minutes: 45
            tasks:
              - task: measure
                type: spark
                application_arguments: [--from, '{{input}}petals.csv', --to, '{{measured}}']
              - task: learn
                type: python
                image: team/petals
                cmd: python -u learn.py '{{measured}}'
                env: {FILES: /mnt/petals}
        volumes:
          - {volume: petals, local: {path: .}}
        services:
          - service:
            name: petals_api
            type: python_server
            image: team/petals
            source: .
    """,
    "defaults/liminal.yml": """
        name: SparkHere
        owner: Ada Lovelace
        type: super
        executors: [{executor: local_k8s, type: kubernetes}]
        variables: {storage: /mnt/petals, input: ''}
        images: [{image: petals_spark, source: ., type: spark, no_cache: true}]
        task_defaults:
          spark:
            executor: local_k8s
            image: petals_spark
            executors: 2
            application_source: '{{program}}'
            mounts: [{mount: files, volume: petals, path: /mnt/petals}]
    """,
}

CLOUD = {
    "liminal.yaml": """
        name: Diamonds
        super: Cloud
        pipelines:
          - pipeline: price_diamonds
            start_date: 1970-01-01
            timeout_minutes: 45
            tasks:
              - task: cluster
                type: create_cloudformation_stack
                stack_name: diamonds
                properties: {OnFailure: DO_NOTHING, Parameters: {Environment: '{{stage}}'}}
              - {task: learn, type: python, cmd: python -u prices.py learn}
              - task: price
                type: spark
                executor: emr
                class: org.example.Prices
                conf: {spark.driver.memory: 1g}
                application_source: prices.jar
              - {task: gone, type: delete_cloudformation_stack, stack_name: diamonds}
    """,
    "cloud/liminal.yaml": """
        name: Cloud
        type: super
        secrets: [{secret: aws, local_path_file: ~/.aws/credentials}]
        executors:
          - {executor: k8s, type: kubernetes, get_logs: false}
          - executor: emr
            type: emr
            cluster_name: diamonds
            properties: {ActionOnFailure: CONTINUE}
        variables: {stage: test, output: /mnt/diamonds}
        images: [{image: prices, type: python, source: ., python_version: '3.9'}]
        metrics: {namespace: Diamonds, backends: [cloudwatch]}
        always_run: true
        task_defaults:
          python:
            executor: k8s
            image: prices
            env_vars: {OUTPUT: '{{output}}', AWS_CONFIG_FILE: /secret/credentials}
            secrets: [{secret: aws, remote_path: /secret}]
    """,
}

LAYERS = {
    "liminal.yml": """
        name: Layered
        super: tasks_of_all
        images: [{image: app, type: python, source: app}]
        pipelines:
          - pipeline: short
            owner: Ada Lovelace
            start_date: 1970-01-01
            timeout_minutes: 45
            tasks: [{task: work, type: python, image: app, cmd: 'true', executors: 2}]
        services: [{service: api, image: app}]
    """,
    "tasks/liminal.yml": """
        name: tasks_of_all
        type: super
        super: defaults_of_all
        images: [{image: app, type: python, source: other, no_cache: true}]
        service_defaults:
          endpoints: [{endpoint: /a, module: a.b, function: c}]
        pipeline_defaults:
          tasks:
            - {task: first, type: python, image: app, cmd: 'true', env_vars: {b: 2}}
            - {task: theirs, type: pipeline, description: the pipeline's own}
            - {task: last, type: python, image: app, cmd: 'true'}
    """,
    "defaults/liminal.yml": """
        name: defaults_of_all
        type: super
        service_defaults: {one: two}
        task_defaults: {env_vars: {a: 1}}
        pipeline_defaults: {one: one}
    """,
}

PLUGINS = {
    "liminal.yml": """
        name: Extended
        images: [{image: special, type: special_image}]
        executors: [{executor: own, type: special_executor, speed: 3}]
        pipelines:
          - pipeline: extended
            start_date: 1970-01-01
            timeout_minutes: 10
            tasks: [{task: it, type: special_task, executor: own, colour: red}]
    """,
    "plugins/tasks/special_task.py": "",
    "plugins/executors/special_executor.py": "",
    "plugins/images/special_image.py": "",
}


@pytest.mark.parametrize(
    ("files", "warnings"),
    [
        pytest.param({"liminal.yml": GREETING}, ["metrics"], id="greeting"),
        pytest.param(SPARK, ["env"], id="spark"),
        pytest.param(CLOUD, [], id="cloud"),
        pytest.param(LAYERS, ["one", "env_vars", "one"], id="layers"),
        pytest.param(PLUGINS, [], id="plugins"),
    ],
)
def test_an_example_is_valid_and_resolves_as_in_the_original(
    write: Write, original: Original, files: dict[str, str], warnings: list[str]
) -> None:
    folder = write(files)
    tree = find_apache(folder)
    assert tree is not None
    found = examine_projects(tree, environ={})
    ours = {project.name: project.as_dict() for project in found.projects}
    assert len(ours) == 1
    assert ours == original.resolve(folder)
    assert not any(diagnostic.is_error for diagnostic in found.diagnostics)
    ignored = [d.message.split("'")[1] for d in found.diagnostics]
    assert sorted(ignored) == sorted(warnings)

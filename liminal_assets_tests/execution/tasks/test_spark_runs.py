from __future__ import annotations

import json
from pathlib import Path

import pytest

from liminal_assets.execution.plugins import run_task
from liminal_assets_tests.workflows import run_of, task_of

_APPLICATION = """
import sys
from operator import add

from pyspark.sql import SparkSession
from pyspark.sql.functions import col, sum

spark = SparkSession.builder.appName("words").getOrCreate()
context = spark.sparkContext
lines = context.textFile(sys.argv[1], 1)
counts = lines.flatMap(str.split).map(lambda word: (word, 1)).reduceByKey(add, 1)
for word, count in sorted(counts.collect()):
    print(f"{word}: {count}")
print("master", context.master, spark.conf.get("spark.app.colour"))

orders = spark.createDataFrame([("a", 1), ("b", 5), ("a", 2)], ["shop", "amount"])
totals = orders.groupBy("shop").agg(sum("amount").alias("total")).orderBy(col("shop"))
totals.coalesce(1).write.mode("overwrite").json(sys.argv[2])
spark.stop()
"""


@pytest.mark.slow
def test_a_spark_application_runs_on_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMINAL_EXECUTOR", "local")
    (tmp_path / "words.py").write_text(_APPLICATION)
    (tmp_path / "words.txt").write_text("red blue\nred\n")
    spec, workflow = task_of(
        tmp_path,
        """
        type: spark
        application_source: words.py
        application_arguments: [words.txt, out]
        executors: 2
        conf:
          spark: {app: {colour: green}, ui: {enabled: false}, sql.shuffle.partitions: 1}
          spark.driver.extraJavaOptions: -XX:TieredStopAtLevel=1 -XX:+UseSerialGC
        """,
    )
    lines: list[str] = []
    run_task(spec, run_of(workflow, lines=lines))
    printed = [line for line in lines if line.startswith(("red", "blue", "master"))]
    assert printed == ["blue: 1", "red: 2", "master local[2] green"]
    [part] = (tmp_path / "out").glob("part-*.json")
    rows = [json.loads(line) for line in part.read_text().splitlines()]
    assert rows == [{"shop": "a", "total": 3}, {"shop": "b", "total": 5}]

"""A Spark application: centres the measurements and numbers the species."""

import argparse

from pyspark.sql import SparkSession
from pyspark.sql import functions as sql

parser = argparse.ArgumentParser()
parser.add_argument("--from", dest="source")
parser.add_argument("--to", dest="target")
arguments = parser.parse_args()

spark = SparkSession.builder.appName("measure").config("spark.ui.enabled", "false").getOrCreate()
rows = spark.read.csv(arguments.source, header=True, inferSchema=True)
means = rows.agg(*(sql.mean(name).alias(name) for name in ("length", "width"))).first()
measured = rows.select(
    *((sql.col(name) - means[name]).alias(name) for name in ("length", "width")),
    (sql.col("species") == "large").cast("int").alias("label"),
)
measured.coalesce(1).write.mode("overwrite").csv(arguments.target, header=True)
spark.stop()

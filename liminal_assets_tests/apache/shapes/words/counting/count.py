"""A Spark application: counts the words of a file."""

import sys

from pyspark.sql import SparkSession
from pyspark.sql import functions as sql

spark = SparkSession.builder.appName("words").config("spark.ui.enabled", "false").getOrCreate()
lines = spark.read.text(sys.argv[1])
words = lines.select(sql.explode(sql.split("value", " ")).alias("word"))
for row in words.groupBy("word").count().orderBy(sql.desc("count"), "word").collect():
    print(row["word"], row["count"])
spark.stop()

"""Learns from what the Spark application wrote; keeps the model in the mounted folder."""

import os
import sys
from pathlib import Path

import joblib
import pandas as pd
from sklearn.linear_model import LogisticRegression

[file] = Path(sys.argv[1]).glob("*.csv")
rows = pd.read_csv(file)
model = LogisticRegression().fit(rows[["length", "width"]], rows["label"])
target = Path(os.environ["FILES"], "model.joblib")
joblib.dump(model, target)
print(f"learned from {len(rows)} rows")

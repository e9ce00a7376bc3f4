"""A worker of the first task: leaves a greeting in the mounted folder."""

import json
import os
from pathlib import Path

index, workers = os.environ["LIMINAL_SPLIT_ID"], os.environ["LIMINAL_NUM_SPLITS"]
print(f"worker {index} of {workers} is {os.environ['TONE']}")
greeting = {"tone": os.environ["TONE"], "times": int(os.environ["TIMES"])}
Path(f"/mnt/files/greeting_{index}.json").write_text(json.dumps(greeting))

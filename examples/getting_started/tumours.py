"""Where the rows of this example come from."""

import pandas as pd
from sklearn.datasets import load_breast_cancer


def measured() -> pd.DataFrame:
    """Measurements of 569 tumours, and whether each was malignant."""
    rows, benign = load_breast_cancer(return_X_y=True, as_frame=True)
    rows.columns = [name.replace(" ", "_") for name in rows.columns]
    return rows.assign(malignant=benign == 0)

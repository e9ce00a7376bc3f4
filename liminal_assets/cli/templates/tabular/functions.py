"""The project's own code. Inputs come by parameter name, in the form that is annotated."""

import pandas as pd


def features(customers: pd.DataFrame) -> pd.DataFrame:
    """One row per customer."""
    made = customers.copy()
    made["fee_per_call"] = made["monthly_fee"] / (1 + made["support_calls"])
    return made

"""What the model sees of a departure: nothing that isn't known two hours before it."""

from __future__ import annotations

import pandas as pd

SCHEDULE = [
    "carrier",
    "origin",
    "dest",
    "weekday",
    "departure_hour",
    "scheduled_minutes",
    "distance",
    "departures_around",
]
"""Known for weeks."""

STATE = [
    "temp",
    "humid",
    "wind_speed",
    "wind_gust",
    "precip",
    "pressure",
    "visib",
    "waiting",
    "airport_delay",
    "airport_late_share",
    "carrier_delay",
    "destination_delay",
]
"""As it was at ``predicted_at``: joined to that moment, not to the departure."""

OUTCOME = [
    "departed_at",
    "arrived_at",
    "dep_delay",
    "arr_delay",
    "air_time",
    "ground_speed",
    "cancelled",
]
"""Only the day itself can tell these. A model that sees one of them is worth nothing."""


def build(departures: pd.DataFrame) -> pd.DataFrame:
    """The model's columns from a departure joined with what was known at ``predicted_at``."""
    rows = departures[["flight_id", "scheduled_at", *SCHEDULE, *STATE, "seats", "late"]].copy()
    rows["plane_age"] = departures["scheduled_at"].dt.year - departures["year_built"]
    # a calm hour has no gust on record
    rows["wind_gust"] = rows["wind_gust"].fillna(rows["wind_speed"])
    return rows

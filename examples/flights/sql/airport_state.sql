-- What an airport's tower knows at each event: a departure falls due, or a flight leaves.
WITH events AS (
    SELECT origin, day, scheduled_at AS known_at, 1 AS queued, NULL AS dep_delay
    FROM departures
    UNION ALL
    SELECT origin, day, departed_at, -1, dep_delay
    FROM departures WHERE departed_at IS NOT NULL
)
SELECT
    origin,
    known_at,
    -- the day's flights that are due and not gone; cancelled ones count, as nobody told us of them
    sum(queued) OVER (
        PARTITION BY origin, day ORDER BY known_at
        RANGE BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    )::BIGINT AS waiting,
    avg(dep_delay) OVER lately AS airport_delay,
    avg((dep_delay >= 15)::INT) OVER lately AS airport_late_share
FROM events
WINDOW lately AS (
    PARTITION BY origin ORDER BY known_at
    RANGE BETWEEN INTERVAL 2 HOURS PRECEDING AND CURRENT ROW
)
-- one row per moment; after midnight that of the new day
QUALIFY row_number() OVER (PARTITION BY origin, known_at ORDER BY day DESC) = 1

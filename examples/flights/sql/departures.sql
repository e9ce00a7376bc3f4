-- One row per scheduled departure. Moments are in UTC; what only the day itself can tell
-- (everything from departed_at on) comes last and never reaches the model.
WITH placed AS (
    SELECT
        d.*,
        d.time_hour AT TIME ZONE 'UTC' + to_minutes(d.minute) AS scheduled_at,
        -- the table of airports lacks the four in Puerto Rico and the Virgin Islands
        coalesce(nullif(a.tzone, '\N'), 'America/Puerto_Rico') AS dest_zone
    FROM departures_raw AS d LEFT JOIN airports AS a ON a.faa = d.dest
), timed AS (
    SELECT
        *,
        -- sched_arr_time is the clock at the destination; which day is left to the reader
        (date_diff('minute', scheduled_at, make_timestamp(
            year, month, day, (sched_arr_time // 100) % 24, sched_arr_time % 100, 0
        ) AT TIME ZONE dest_zone AT TIME ZONE 'UTC') + 2880) % 1440 AS scheduled_minutes
    FROM placed
)
SELECT
    strftime(make_date(year, month, day), '%Y-%m-%d') || '-' || carrier || flight || '-' || origin
        AS flight_id,
    make_date(year, month, day) AS day,
    scheduled_at,
    scheduled_at - INTERVAL 2 HOURS AS predicted_at,
    isodow(make_date(year, month, day)) AS weekday,
    hour + minute / 60 AS departure_hour,
    scheduled_minutes,
    carrier, flight, tailnum, origin, dest, distance,
    count(*) OVER (
        PARTITION BY origin ORDER BY scheduled_at
        RANGE BETWEEN INTERVAL 30 MINUTES PRECEDING AND INTERVAL 30 MINUTES FOLLOWING
    ) AS departures_around,
    scheduled_at + to_minutes(dep_delay) AS departed_at,
    scheduled_at + to_minutes(scheduled_minutes + arr_delay) AS arrived_at,
    dep_delay, arr_delay, air_time,
    distance * 60 / air_time AS ground_speed,
    dep_time IS NULL AS cancelled,
    arr_delay >= 15 AS late
FROM timed

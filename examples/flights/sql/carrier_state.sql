-- How late a carrier's flights have been leaving an airport in the last four hours.
SELECT DISTINCT
    origin,
    carrier,
    departed_at AS known_at,
    avg(dep_delay) OVER (
        PARTITION BY origin, carrier ORDER BY departed_at
        RANGE BETWEEN INTERVAL 4 HOURS PRECEDING AND CURRENT ROW
    ) AS carrier_delay
FROM departures
WHERE departed_at IS NOT NULL

-- How late flights from New York have been arriving at a destination in the last six hours.
SELECT DISTINCT
    dest,
    arrived_at AS known_at,
    avg(arr_delay) OVER (
        PARTITION BY dest ORDER BY arrived_at
        RANGE BETWEEN INTERVAL 6 HOURS PRECEDING AND CURRENT ROW
    ) AS destination_delay
FROM departures
WHERE arrived_at IS NOT NULL

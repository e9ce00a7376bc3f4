"""What is seen of a server from outside: counts, the access log, traces."""

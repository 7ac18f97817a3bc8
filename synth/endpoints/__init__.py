"""HTTP to a teacher: connections, proxies, rate limits, retries and the choice between several addresses."""

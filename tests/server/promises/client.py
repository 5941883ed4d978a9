"""One HTTP client for all threads: no connection outlives its request, which would hide what a new one meets."""

import httpx

# httpx's functions read the system's certificates for every call, which takes longer than most answers.
CLIENT = httpx.Client(verify=False, timeout=60, limits=httpx.Limits(max_connections=None, max_keepalive_connections=0))

"""Probes of the user's own endpoints: HTTP(S) and TCP, in the background; the last result is published."""

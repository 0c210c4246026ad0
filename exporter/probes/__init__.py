"""Probes of the user's own endpoints: HTTP(S) and TCP, in the background, published as they last were."""

"""Targets that teams declare as objects beside their workloads: read by a watch, with a status."""

"""The Kubernetes backend: read workloads, patch their scale, leader election, state, Events."""

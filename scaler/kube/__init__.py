"""What the scaler does with a Kubernetes API server: read workloads, patch their scale, elect, keep state."""

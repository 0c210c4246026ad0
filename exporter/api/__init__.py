"""The monitoring actions of /api/monitoring; scaling actions are forwarded to the scaler."""

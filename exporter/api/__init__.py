"""The monitoring actions of /api/monitoring, and the way of the scaling ones to the scaler."""

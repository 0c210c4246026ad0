"""The scaling actions of /api/monitoring."""

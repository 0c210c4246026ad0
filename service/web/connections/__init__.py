"""Connections from their acceptance to their end, and the bounds that hold for them."""

"""External metrics: the HPA asks the API server for the number of a target, and that asks us."""

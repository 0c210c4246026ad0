"""How families are drawn: as text, OpenMetrics and protobuf, block by block."""

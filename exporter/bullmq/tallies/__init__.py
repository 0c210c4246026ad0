"""What counting jobs rests on: durations in buckets, and how many labels there may be. Pure."""

"""Parts of one step over all targets."""

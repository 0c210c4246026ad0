"""Jobs by their name: folded, bounded and counted."""

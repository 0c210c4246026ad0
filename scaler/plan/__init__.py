"""`scaling plan`: what the recorded weeks say about the number of workers of the next ones."""

"""What engines that act on our number have in common: the number, and the certificates of their servers."""

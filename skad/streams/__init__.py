"""Scores and maps of images without end, in constant memory, and the file that keeps them."""

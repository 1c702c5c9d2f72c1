"""One training: its loop, the order of its images, and what is kept of it."""

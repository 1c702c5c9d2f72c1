"""Images in any container: the door, and what stands behind it."""

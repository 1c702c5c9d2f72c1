"""Score maps: joined, compared with galleries of normal pixels, laid over images."""

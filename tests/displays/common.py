"""What tests of displays share."""

import matplotlib

matplotlib.use("Agg")
from matplotlib.colors import to_rgba


def is_color(found, color):
    return to_rgba(found)[:3] == to_rgba(color)[:3]


class Counted:
    """A data set that notes which images were asked for."""

    def __init__(self, images):
        self.images, self.asked = images, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.asked.append(index)
        return self.images[index], "label"

"""Score maps and masks of tiles, for tests of their display."""

import matplotlib

matplotlib.use("Agg")


def texts_of(display):
    return [text.get_text() for text in display.texts_]


class Counted:
    """A data set that notes which images were asked for."""

    def __init__(self, images):
        self.images, self.asked = images, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.asked.append(index)
        return self.images[index], "label"

"""Whether scorer, gallery and image score of a map detector go together."""

from ..scorers import KNNScorer


def check_image_score(owner, image_score, gallery):
    """Make sure that a gallery has what an image is to be scored by."""
    if image_score == "peak" and not hasattr(gallery, "peaks"):
        raise ValueError(
            f'{owner}: image_score="peak" is of a coreset; the gallery is a '
            f"{type(gallery).__name__}. Give skad.maps.CoresetPixels(), or another image_score."
        )


def check_neighbors(owner, scorer, gallery, n_images):
    """Make sure that a scorer finds training images other than the image itself."""
    if not isinstance(scorer, KNNScorer):
        if not gallery.retrieves:
            return
        raise TypeError(
            f"{owner}: the gallery compares images with the training images that the scorer "
            f"retrieves, so scorer must be a KNNScorer; got a {type(scorer).__name__}. Give one, "
            "or a gallery that retrieves nothing, such as skad.maps.CentroidPixels()."
        )
    if n_images < 2:
        raise ValueError(
            f"{owner}: an image is compared with other training images, so there must be at least "
            f"2; got n_samples = {n_images}."
        )
    scorer.set_params(n_neighbors=min(scorer.n_neighbors, n_images - 1))

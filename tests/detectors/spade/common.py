"""SPADE: small networks, and what tests share."""

try:
    import resource
except ImportError:  # Windows
    resource = None


SMALL = {"backbone": "test_resnet", "weights": None, "image_size": 32, "n_threshold_images": 3}
LAYERS = ["layer1", "layer2", "layer3"]

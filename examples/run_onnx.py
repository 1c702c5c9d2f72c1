"""
Run a detector without skad
===========================

``skad export cells.skad -o cells.onnx`` writes preprocessing, network, gallery and threshold as one
graph. All that this needs is onnxruntime and numpy. Pictures are arrays of bytes of any height and
width, upright, in RGB: here of binary PPM files, since numpy reads no other kind of picture. ::

    python run_onnx.py cells.onnx one.ppm two.ppm
"""

import re
import sys

import numpy as np
import onnxruntime


def read_ppm(path):
    with open(path, "rb") as file:
        content = file.read()
    header = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", content)
    width, height = map(int, header.groups())
    return np.frombuffer(content, np.uint8, offset=header.end()).reshape(height, width, 3)


def main(model, *paths):
    session = onnxruntime.InferenceSession(model)
    print(session.get_modelmeta().custom_metadata_map["skad.detector"], "of", model)
    for path in paths:
        score, anomaly, *_ = session.run(None, {"pixels": read_ppm(path)[None]})
        print(f"{path}: {score[0]:.4f} {'anomaly' if anomaly[0] else 'normal'}")


if __name__ == "__main__":
    main(*sys.argv[1:])

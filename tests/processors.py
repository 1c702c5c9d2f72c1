"""What the processor under the tests can do."""

import pytest
import torch

from skad.networks._device import computes_bfloat16

needs_bfloat16 = pytest.mark.skipif(
    not computes_bfloat16(torch.device("cpu")),
    reason="a processor without AVX-512 computes in float32 where bfloat16 is asked for",
)

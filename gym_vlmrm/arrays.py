"""Names of array types, so that signatures stay readable; shapes and units stand in docstrings."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats", "Frames"]

Floats: TypeAlias = NDArray[np.float64]
Frames: TypeAlias = NDArray[np.uint8]
"""RGB pictures, (H, W, 3) or (N, H, W, 3)."""

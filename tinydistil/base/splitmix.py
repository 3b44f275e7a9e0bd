"""SplitMix64 (Steele et al. 2014), vectorised: hashes that are equal on every machine."""

import numpy as np
from numpy.typing import NDArray

# The increment, odd, and the two multipliers of the finaliser.
STEP, FIRST, SECOND = (np.uint64(each) for each in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def splitmix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser: one changed bit of a value changes half of its result's."""
    values = (values ^ (values >> np.uint64(30))) * FIRST
    values = (values ^ (values >> np.uint64(27))) * SECOND
    return values ^ (values >> np.uint64(31))

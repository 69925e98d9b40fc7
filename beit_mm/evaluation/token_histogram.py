import numpy as np


def entropy(ids: np.ndarray) -> float:
    """Of the histogram of ``ids`` (any shape, integers), in nats."""
    counts = np.unique(ids, return_counts=True)[1]
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum())

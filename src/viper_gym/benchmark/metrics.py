"""Ranks and pairs: the figures an audit is made of."""

from __future__ import annotations

import numpy as np
from scipy import stats


def share_of_pairs(better: np.ndarray, worse: np.ndarray) -> float:
    """Share of pairs in which `better` is above `worse` (ties count half): 0…1.

    With two classes of episodes this is the area under the ROC curve.
    """
    if not len(better) or not len(worse):
        return float("nan")
    difference = better[:, None] - worse[None, :]
    return float((difference > 0).mean() + 0.5 * (difference == 0).mean())


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Rank correlation of the pairs that are known (not NaN); NaN where either side is constant."""
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(stats.spearmanr(a, b).statistic)


def gap_in_deviations(expert: np.ndarray, other: np.ndarray) -> float:
    """(mean expert - mean other) in standard deviations of the expert's episodes; NaN of one."""
    if len(expert) < 2:
        return float("nan")
    return float((expert.mean() - other.mean()) / max(float(expert.std(ddof=1)), 1e-12))

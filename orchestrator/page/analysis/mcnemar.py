"""McNemar's exact test: whether two classifiers, asked about the same examples, differ by more than chance.

Source     McNemar, Psychometrika 1947; Dietterich, Neural Computation 1998, on classifiers. Only the examples on which
           one is right and the other wrong count; without a difference each goes either way with probability 1/2.
Not for    the noise between two trainings of the same configuration: the test knows only these two models.
"""

from __future__ import annotations


def p_value(fixed: int, broken: int) -> float:
    """The two-sided probability of counts at least this uneven if both classifiers are equally good.

    >>> round(p_value(8, 1), 4)
    0.0391
    """
    from scipy.stats import binom

    total = fixed + broken
    return min(1.0, 2.0 * float(binom.cdf(min(fixed, broken), total, 0.5))) if total else 1.0

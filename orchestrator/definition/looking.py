"""Calls that only look at an object, such as `X.mean()`: a statement with any other method may change it."""

from __future__ import annotations

import ast

_ARRAYS = (
    "all any argmax argmin astype corr cov cumsum dim item isnan max mean median min nonzero norm numel numpy prod "
)
_ARRAYS += "quantile std sum tobytes tolist topk unique var"
_CONTAINERS = "copy count difference get index intersection isdisjoint issubset issuperset items keys union values"
_MODELS = "modules named_modules named_parameters parameters state_dict"
_PLOTS = "bar barh boxplot errorbar fill_between hist imshow legend plot savefig scatter show"
_TABLES = (
    "agg aggregate describe groupby head info isin isna isnull memory_usage nlargest notna notnull nsmallest nunique "
)
_TABLES += "pivot_table tail to_dict to_numpy value_counts"
LOOKING = frozenset(" ".join((_ARRAYS, _CONTAINERS, _MODELS, _PLOTS, _TABLES)).split())


def only_looks(call: ast.Call) -> bool:
    """Whether each method in `X.groupby("a").mean()` is a well-known one that leaves its object as it is."""
    thing: ast.expr = call
    while isinstance(thing, (ast.Attribute, ast.Subscript, ast.Call)):
        if isinstance(thing, ast.Call):
            known = isinstance(thing.func, ast.Attribute) and thing.func.attr in LOOKING
            if not known or any(each.arg in ("inplace", "out", None) for each in thing.keywords):
                return False
            thing = thing.func
        else:
            thing = thing.value
    return isinstance(thing, ast.Name)

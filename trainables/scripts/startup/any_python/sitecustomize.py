"""Python imports a module of this name at its start: run the one that follows what the script logs, which needs Python 3.6.

An older Python, such as 2.7, cannot even read that file. There only the user's own module of this name runs.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))

if sys.version_info >= (3, 6):  # noqa: UP036
    import importlib.util

    _path = os.path.join(os.path.dirname(_HERE), "sitecustomize.py")
    _spec = importlib.util.spec_from_file_location("trial_sitecustomize", _path)
    if _spec is not None and _spec.loader is not None:
        _spec.loader.exec_module(importlib.util.module_from_spec(_spec))
else:
    import imp

    try:
        _found = imp.find_module("sitecustomize", [place for place in sys.path if os.path.abspath(place) != _HERE])
    except ImportError:  # there is none
        pass
    else:
        imp.load_module("sitecustomize", *_found)

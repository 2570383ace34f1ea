"""Colours by role, for a light and a dark page; people who see red and green alike can tell all of them apart.

The categories are those of Okabe and Ito, darkened on white and lightened on black until lines stand out from the page.
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.page.charts import Chart, Section, Surface

LIGHT = {
    "best": "#0b62b0", "baseline": "#b4540a", "random": "#8a7ba8", "muted": "#9aa5b1", "good": "#00806a",
    "bad": "#c2185b", "ink": "#1c2733", "soft": "#5c6b7a", "grid": "#e3e8ee", "page": "#ffffff",
}  # fmt: skip
DARK = {
    "best": "#62b5ff", "baseline": "#f3a24a", "random": "#b3a3d6", "muted": "#7d8a97", "good": "#3cc7a2",
    "bad": "#ff7fb2", "ink": "#e4e9ef", "soft": "#9aa7b5", "grid": "#2c3641", "page": "#151b22",
}  # fmt: skip
CATEGORIES = (  # light, dark; of tasks and trials: neither the colour of the best nor that of the baseline
    ("#00806a", "#3cc7a2"), ("#a33a86", "#e58fcb"), ("#7a6a00", "#e3d04a"), ("#3c8fb8", "#8fd3f4"),
    ("#4f6272", "#a9b8c6"),
)  # fmt: skip


def palettes(sections: Iterable[Section]) -> tuple[dict[str, str], dict[str, str]]:
    """Role → colour, for light and for dark; a task or a trial has the same colour in all figures."""
    own = dict.fromkeys(role for section in sections for role in _roles(section) if ":" in role)
    light, dark = dict(LIGHT), dict(DARK)
    for number, role in enumerate(own):
        light[role], dark[role] = CATEGORIES[number % len(CATEGORIES)]
    return light, dark


def _roles(section: Section) -> list[str]:
    roles = []
    for figure in section.figures:
        if isinstance(figure, Chart):
            roles += [series.role for series in figure.series]
        elif isinstance(figure, Surface) and figure.points is not None:
            roles.append(figure.points.role)
    return roles

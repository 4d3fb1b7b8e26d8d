"""
Draw charts as SVG files.

This script runs in an environment that has nothing but matplotlib.  It reads a list of charts from its standard input,
in JSON; `charts.py` describes them.
"""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

COLUMNS = 4
BAR_INCHES, TITLE_INCHES, WIDTH_INCHES = 0.27, 0.9, 10.5
# The same input gives the same bytes, and browsers write the text with their own fonts.
STYLE = {
    "svg.hashsalt": "taskd",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.bottom": False,
}


def draw(chart: dict[str, Any]) -> None:
    """Draw a chart with one panel for each operation, and in it one bar for each server."""
    panels = chart["panels"]
    columns = min(COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    height = rows * (TITLE_INCHES + BAR_INCHES * len(chart["servers"]))
    figure = Figure(figsize=(2 + (WIDTH_INCHES - 2) * columns / COLUMNS, height), layout="constrained")
    axes = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten()
    for place, panel in zip(axes, panels, strict=False):
        draw_panel(place, panel, chart)
    for place in axes[len(panels) :]:
        place.set_axis_off()
    figure.suptitle(chart["title"], fontsize=11)
    figure.savefig(chart["file"], format="svg", metadata={"Date": None}, facecolor="white")


def draw_panel(axes: Any, panel: dict[str, Any], chart: dict[str, Any]) -> None:
    """Draw the bars of one operation, the first server on top."""
    values = [value or 0 for value in panel["values"]]
    bars = axes.barh(chart["servers"], values, color=chart["colors"])
    axes.bar_label(bars, labels=panel["labels"], padding=3, fontsize=8)
    axes.set_title(panel["title"])
    axes.set_xlim(0, 1.25 * max(values, default=1) or 1)
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0)
    if not axes.yaxis_inverted():
        axes.invert_yaxis()


if __name__ == "__main__":
    mpl.rcParams.update(STYLE)
    for described in json.load(sys.stdin):
        draw(described)

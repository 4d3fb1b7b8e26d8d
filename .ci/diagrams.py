"""Draw the Mermaid diagrams of the documentation as SVG, in the colours of the site's light or dark scheme."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import mermaidx

# Mermaid calculates with colours, so it cannot take variables: each of these colours stands for one, which replaces it
# in the SVG.
_COLOURS = {
    "#010101": "var(--md-default-fg-color)",
    "#020202": "var(--md-default-fg-color--light)",
    "#030303": "var(--md-code-bg-color)",
    "#040404": "var(--md-default-bg-color)",
}
_TEXT, _LINE, _BOX, _GROUND = _COLOURS
_THEME = {
    "background": _GROUND,
    "mainBkg": _BOX,
    "primaryColor": _BOX,
    "primaryTextColor": _TEXT,
    "primaryBorderColor": _LINE,
    "nodeBorder": _LINE,
    "lineColor": _LINE,
    "textColor": _TEXT,
    "titleColor": _TEXT,
    "clusterBkg": _GROUND,
    "clusterBorder": _LINE,
    "edgeLabelBackground": _GROUND,
    "fontSize": "15px",
}


def svg(source: str, *_: object, **__: Any) -> str:
    """Return the SVG for a diagram's *source*; the other arguments, which SuperFences passes, are ignored."""
    config = {"themeVariables": _THEME, "flowchart": {"wrappingWidth": 400}}
    drawn = mermaidx.render(source, theme="base", config=config).svg()
    for colour, variable in _COLOURS.items():
        drawn = re.sub(f"(?i){colour}", variable, drawn)
    # Several diagrams on a page must not share the ids of their styles and arrowheads.
    name = "d" + hashlib.sha256(source.encode()).hexdigest()[:8]
    return f'<div class="diagram">{_renamed(drawn, name)}</div>'


def _renamed(drawn: str, name: str) -> str:
    """Return *drawn* with *name* in place of the id that all diagrams have."""
    found = re.search(r'<svg[^>]*? id="([^"]+)"', drawn)
    return drawn.replace(found[1], name) if found else drawn

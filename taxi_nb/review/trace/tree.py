"""A trace as a tree for a terminal."""

from __future__ import annotations

from rich.text import Text
from rich.tree import Tree

from taxi_nb.review.trace.nodes import Node


def tree_of(node: Node, above: Tree | None = None) -> Tree:
    """Return a node and all that it was made from, as Rich prints it."""
    label = Text.assemble((node.kind, "dim"), "  ", (node.title, "bold"))
    tree = Tree(label, guide_style="dim") if above is None else above.add(label)
    for name, value in node.facts.items():
        tree.add(Text.assemble((f"{name}: ", "cyan"), value))
    for what in node.missing:
        tree.add(Text.assemble(("missing: ", "yellow"), what))
    for below in node.made_from:
        tree_of(below, tree)
    return tree

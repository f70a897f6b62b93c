"""What `make lab` sets for JupyterLab: our cards in the launcher, and our commands."""

from taxi_nb.lab.server import CARDS

c.LabApp.extra_labextensions_path = [CARDS]  # noqa: F821 - Jupyter gives the name

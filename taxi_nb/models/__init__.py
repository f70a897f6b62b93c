"""The models: how each is built, and all the code that a logged one carries.

This folder is copied into every logged model, under a name of its own (see `carried`). So its
modules import each other relatively, and nothing else of the project. It stays cheap to import.

- `specs`: `MODELS`, their parameters and features
- `choice`: one of them with chosen parameters, built
- `features`, `trip_features`: raw trips to a model's matrix
- `linear`: exact least squares, ridge and lasso
- `zones`: the taxi zones and their boroughs
- `carried`: the copy's name, and which code a loaded model runs
"""

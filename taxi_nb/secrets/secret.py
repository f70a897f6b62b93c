"""A secret's value, for a notebook that has to use it."""

from __future__ import annotations

from taxi_nb.secrets._kernel_messages import hide_secrets_in_messages
from taxi_nb.secrets.known import KNOWN
from taxi_nb.secrets.mlflow_boundary import hide_secrets_in_stores
from taxi_nb.secrets.references import SecretError, variable_of


def secret(parameter: str) -> str:
    """Return the value of a parameter that names an environment variable.

    In a notebook: ``token = secret(api_token)``, where the parameters cell says
    ``api_token: str = "env:API_TOKEN"``. The value is for use alone: outputs, runs and
    artifacts get ``[env:API_TOKEN]`` in its place. A new value does not make a pipeline's step
    run again: a secret opens doors, results do not come from it.

    Parameters
    ----------
    parameter : str
        ``env:NAME``.

    Returns
    -------
    str
        What the variable holds.

    Raises
    ------
    SecretError
        If `parameter` is no such reference, or the variable is not set or too short to hide.

    Examples
    --------
    >>> import os
    >>> from taxi_nb import secret
    >>> os.environ["DOOR_CODE"] = "friend and enter"
    >>> len(secret("env:DOOR_CODE"))
    16
    """
    variable = variable_of(parameter)
    if variable is None:
        raise SecretError(
            "`parameter` must be env:NAME, where NAME is the environment variable that holds the "
            "secret, got: a text of another form"
        )
    value = KNOWN.remember(variable)
    hide_secrets_in_messages()
    hide_secrets_in_stores()
    return value

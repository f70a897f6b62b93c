# The project at one commit, in the locked environment: docs/containers.md. `make image` builds it.
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS environment
# Its own pip knows no hashes in constraints; the lock's, which comes with the first step, does.
RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements.lock /locked/
RUN python -m pip install --require-hashes -r /locked/requirements.lock
# Extras come from the lock that has all of them, and are of its versions.
ARG EXTRAS="s3 postgres"
COPY requirements-dev.lock pyproject.toml /locked/
WORKDIR /locked
RUN python -c 'import sys, tomllib; extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; print(*(wanted for extra in sys.argv[1].split() for wanted in extras[extra]), sep="\n")' \
      "$EXTRAS" > extras.txt \
    && python -m pip install --require-hashes -c requirements-dev.lock -r extras.txt
# Engines pin what would hold back our libraries, so they live apart, if they are wanted at all.
ARG ENGINES=""
COPY requirements-engines.lock /locked/
RUN mkdir /opt/engines \
    && if [ -n "$ENGINES" ]; then python -m venv /opt/engines \
      && /opt/engines/bin/python -m pip install --require-hashes -r requirements-engines.lock; fi

FROM python:${PYTHON}
ARG UID=1000
RUN useradd --uid "$UID" --create-home taxi \
    && install --directory --owner=taxi --group=taxi /project \
         /project/data /project/runs /project/store
COPY --from=environment /opt/venv /opt/venv
COPY --from=environment /opt/engines /opt/engines
ENV PATH=/opt/venv/bin:$PATH:/opt/engines/bin \
    TAXI_NB_ROOT=/project \
    MLFLOW_TRACKING_URI=sqlite:////project/store/mlflow.db \
    MLFLOW_DISABLE_TELEMETRY=true \
    OMP_WAIT_POLICY=PASSIVE \
    PYTHONHASHSEED=0 \
    PYTHONUNBUFFERED=1
WORKDIR /project
COPY pyproject.toml README.md LICENSE requirements.lock ./
COPY taxi_nb taxi_nb
# In place, as `make setup` does it: a step counts the project's modules by their content.
RUN python -m pip install --no-cache-dir --no-deps --no-build-isolation --editable . \
    && python -m compileall -q taxi_nb
# People save notebooks; code only changes with the image.
COPY --chown=taxi:taxi params params
COPY --chown=taxi:taxi notebooks notebooks
# Last, since it changes with every commit: `git rev-parse HEAD`, with -dirty for what is not in it.
ARG COMMIT=""
ENV TAXI_NB_COMMIT=$COMMIT
LABEL org.opencontainers.image.title=taxi-nb org.opencontainers.image.revision=$COMMIT
USER $UID
EXPOSE 5001 8888
CMD ["taxi-nb", "run", "params/default.yaml"]

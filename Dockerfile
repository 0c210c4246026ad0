# One image with both commands: `monitor start` (the exporter) and `scaling start` (the scaler).
# Pin the base by digest where you build: --build-arg PYTHON_IMAGE=python:3.13-slim-bookworm@sha256:DIGEST
ARG PYTHON_IMAGE=python:3.13-slim-bookworm

# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/oxherd
WORKDIR /src
COPY requirements/image.txt requirements/image.txt
RUN /opt/oxherd/bin/pip install --require-hashes --requirement requirements/image.txt
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY exporter exporter
COPY scaler scaler
RUN /opt/oxherd/bin/pip install --no-deps --no-build-isolation . \
 && /opt/oxherd/bin/pip uninstall --yes hatchling pip \
 && /opt/oxherd/bin/python -m compileall -q /opt/oxherd/lib

# hadolint ignore=DL3006
FROM ${PYTHON_IMAGE}
COPY --from=build /opt/oxherd /opt/oxherd
# One arena: each thread would keep free memory of its own, a fifth of all at 10,000 queues.
ENV PATH=/opt/oxherd/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 MALLOC_ARENA_MAX=1
USER 10877:10877
WORKDIR /
EXPOSE 9877 9878 9879
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-m", "service.alive"]
CMD ["monitor", "start"]

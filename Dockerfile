# The worker, and the command `poste`. Every package is locked by hash, the build backend too.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
COPY requirements/build.txt requirements/image.txt requirements/
# The product's environment has no pip: that of this stage installs into it.
RUN pip install --no-cache-dir --root-user-action=ignore --require-hashes -r requirements/build.txt
RUN python -m venv --without-pip /opt/poste \
    && pip --python /opt/poste/bin/python install --no-cache-dir --require-hashes -r requirements/image.txt
COPY pyproject.toml README.md ./
COPY poste_restante poste_restante
COPY worker worker
RUN pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /src/dist . ./worker \
    && pip --python /opt/poste/bin/python install --no-index --no-deps /src/dist/*.whl

FROM python:3.11.14-slim-bookworm
LABEL org.opencontainers.image.title="poste-restante" \
      org.opencontainers.image.description="Worker that fills per-user mailboxes in DynamoDB from a Kafka topic" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11.14-slim-bookworm"
# tini forwards signals as process 1: the kernel drops SIGTERM for a process 1 that has no handler
# for it yet, and Python takes seconds until it has one. Nothing in the image installs packages.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && python -m pip uninstall --yes --root-user-action=ignore setuptools wheel pip \
    && rm -rf /usr/local/lib/python3.11/ensurepip
# No --system: that is for ids below 1000, and useradd warns of this one.
RUN useradd --uid 10001 --create-home poste
COPY --from=build /opt/poste /opt/poste
ENV PATH=/opt/poste/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
EXPOSE 6066
STOPSIGNAL SIGTERM
# Whether the process lives, as in a liveness probe. Elsewhere than in a worker: --no-healthcheck.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=9 \
    CMD ["python", "-ISc", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('POSTE_HTTP__PORT', '6066') + '/healthz', timeout=4)"]
# -s: it works as well below another init (`docker run --init`, a shared process namespace).
ENTRYPOINT ["tini", "-s", "--", "poste"]
CMD ["worker"]

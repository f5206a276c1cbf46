# The worker, and the command `poste`.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
COPY requirements/worker.txt requirements/worker.txt
RUN python -m venv /opt/poste \
    && /opt/poste/bin/pip install --no-cache-dir --require-hashes -r requirements/worker.txt
COPY pyproject.toml README.md ./
COPY poste_restante poste_restante
COPY worker worker
RUN /opt/poste/bin/pip install --no-cache-dir --no-deps .

FROM python:3.11.14-slim-bookworm
# tini forwards signals as process 1: the kernel drops SIGTERM for a process 1 that has no handler
# for it yet, and Python takes seconds until it has one.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/*
# No --system: that is for ids below 1000, and useradd warns of this one.
RUN useradd --uid 10001 --create-home poste
COPY --from=build /opt/poste /opt/poste
ENV PATH=/opt/poste/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
EXPOSE 6066
# -s: it works as well below another init (`docker run --init`, a shared process namespace).
ENTRYPOINT ["tini", "-s", "--", "poste"]
CMD ["worker"]

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
RUN useradd --system --uid 10001 --create-home poste
COPY --from=build /opt/poste /opt/poste
ENV PATH=/opt/poste/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
EXPOSE 6066
ENTRYPOINT ["poste"]
CMD ["worker"]

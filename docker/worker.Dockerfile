# A worker: torch, and a GPU where the host lends one (the default torch wheel for Linux brings CUDA).
# Without a GPU the image can be several gigabytes smaller: build it with
#   --build-arg PIP_EXTRA_INDEX_URL=<the index of PyTorch's CPU wheels>
FROM python:3.11-slim
ARG PIP_EXTRA_INDEX_URL
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 10001 lookahead && mkdir /artifacts && chown lookahead /artifacts
WORKDIR /app
COPY pyproject.toml constraints.txt README.md ./
COPY api_schemas api_schemas
COPY client client
COPY embedded embedded
COPY migrations migrations
COPY ntk ntk
COPY service service
COPY store store
COPY studio studio
COPY telemetry telemetry
COPY worker worker
RUN pip install --constraint constraints.txt '.[worker,s3,tracing]'
USER lookahead
ENV ARTIFACTS_URL=file:///artifacts
# A worker is alive while its heartbeat in the queue is fresh.
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s CMD ["python", "-m", "worker", "--check"]
CMD ["python", "-m", "worker"]

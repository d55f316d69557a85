# The HTTP service: no torch, starts in a second.
FROM node:22-slim AS pages
WORKDIR /app/dashboard
COPY dashboard ./
RUN npm ci && npm run build

FROM python:3.11-slim
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --create-home --uid 10001 lookahead && mkdir /artifacts && chown lookahead /artifacts
WORKDIR /app
COPY pyproject.toml constraints.txt README.md ./
COPY api_schemas api_schemas
COPY client client
COPY embedded embedded
COPY migrations migrations
COPY service service
COPY --from=pages /app/service/dashboard/built service/dashboard/built
COPY store store
COPY studio studio
COPY telemetry telemetry
COPY worker worker
RUN pip install --constraint constraints.txt '.[s3,tracing]'
USER lookahead
ENV HOST=0.0.0.0 PORT=8000 LOOKAHEAD_AUTH=on ARTIFACTS_URL=file:///artifacts
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
CMD ["python", "-m", "service"]

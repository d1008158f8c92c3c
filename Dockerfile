# The worker: `docker build -t phone-agent .`, or LiveKit Cloud's `lk agent create` in this folder.
# Holds no SIP service and no lab: those are extras that are not installed here.
FROM python:3.11-slim-bookworm AS build

ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir "uv>=0.8"
WORKDIR /app
# Dependencies first: they change more rarely than the code and fill a layer of their own.
COPY pyproject.toml uv.lock README.md LICENSE ./
RUN uv sync --frozen --no-dev --no-install-project
COPY agent.py ./
COPY agent ./agent
COPY sip ./sip
COPY lab/__init__.py ./lab/__init__.py
RUN uv sync --frozen --no-dev --no-editable

FROM python:3.11-slim-bookworm

# A fixed id, so that a cluster's `runAsNonRoot` and volume owners can name it.
RUN groupadd --gid 10001 agent \
    && useradd --uid 10001 --gid agent --create-home --shell /usr/sbin/nologin agent \
    && install -d -o agent -g agent /records
WORKDIR /app
COPY --from=build /app /app
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    AGENT_HTTP_HOST=0.0.0.0 \
    AGENT_HTTP_PORT=8081 \
    CALL_RECORDS_DIR=/records
USER agent
EXPOSE 8081
# 200 only while the worker is registered with LiveKit.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ['AGENT_HTTP_PORT'] + '/', timeout=2)"]
# SIGTERM drains: calls that stand are finished, new ones go to other workers.
STOPSIGNAL SIGTERM
CMD ["python", "agent.py", "start"]

# docker build --build-arg TORCH=cpu .
# docker build --build-arg TORCH=cuda .    (the host needs NVIDIA's driver and container toolkit, nothing more)
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
ARG TORCH=cpu
RUN python -m venv /venv
WORKDIR /src
COPY . .
# The cache keeps torch from being fetched again for every change of our code.
RUN --mount=type=cache,target=/root/.cache/pip \
    case "$TORCH" in \
      cpu) export PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu ;; \
      cuda) ;; \
      *) echo "TORCH must be cpu or cuda" >&2; exit 2 ;; \
    esac \
 && /venv/bin/pip install --disable-pip-version-check --constraint constraints.txt '.[all]'

FROM python:${PYTHON}-slim
# The user that reads the photos and owns the volume: `id -u` of the photos' owner, where they are private.
ARG UID=1000
RUN useradd --uid "$UID" --no-create-home --home-dir /var/lib/blipq --shell /usr/sbin/nologin blipq \
 && install --directory --owner blipq --group blipq --mode 700 /var/lib/blipq
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH HOME=/var/lib/blipq BLIPQ_HOME=/var/lib/blipq HF_HUB_DISABLE_TELEMETRY=1 \
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER ${UID}
WORKDIR /var/lib/blipq
# Healthy means that the ledger can be read; a worker process that hangs is its supervisor's business.
HEALTHCHECK --interval=60s --timeout=15s --start-period=60s CMD ["blipq", "status", "--json"]
ENTRYPOINT ["blipq"]
CMD ["worker"]

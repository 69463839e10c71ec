# One image for every process of the suite. What runs is the command: services.ingest · services migrate · hookline.cli
ARG PYTHON=python:3.13-slim-trixie

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv --without-pip /opt/hookline && python -m venv --without-pip /opt/build
# Wheels only, so no compiler; each checked against its hash.
COPY requirements-image.lock ./
RUN pip --python /opt/hookline/bin/python install --require-hashes --only-binary :all: -r requirements-image.lock
COPY deploy/requirements-build.lock ./
RUN pip --python /opt/build/bin/python install --require-hashes --only-binary :all: -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY hookline ./hookline
RUN /opt/build/bin/python -m hatchling build --target wheel --directory dist \
 && pip --python /opt/hookline/bin/python install --no-index --no-deps dist/*.whl
COPY services /app/services
COPY shared /app/shared
# The file system is read-only at run time, so bytecode must be there already.
RUN python -m compileall -q --invalidation-mode unchecked-hash /app

FROM ${PYTHON}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Hookline" \
      org.opencontainers.image.description="The system of record for a company's webhook events" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
RUN groupadd --gid 10001 hookline \
 && useradd --uid 10001 --gid hookline --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin hookline
COPY --from=build /opt/hookline /opt/hookline
COPY --from=build /app /app
ENV PATH=/opt/hookline/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PYTHONFAULTHANDLER=1
WORKDIR /app
USER 10001:10001
EXPOSE 8080 50051 50052 50053
ENTRYPOINT ["python", "-m"]
CMD ["services", "--help"]

# The supervisor and its workers, without a build tool, a package manager or a Kafka in the image.
#   docker build -t kafka-supervisor .
#   docker run --rm kafka-supervisor --help

FROM python:3.13-slim-trixie AS build
WORKDIR /source
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv --without-pip /opt/kafka-supervisor
# The dependencies first and by themselves: their layer lasts until the lock changes.
COPY requirements.lock ./
RUN pip --python /opt/kafka-supervisor/bin/python install --require-hashes -r requirements.lock
COPY pyproject.toml setup.cfg README.md LICENSE ./
COPY supervisor ./supervisor
COPY workers ./workers
# setuptools came with the lock, to build with; nothing needs it from here on.
RUN pip --python /opt/kafka-supervisor/bin/python install --no-deps --no-build-isolation . \
 && pip --python /opt/kafka-supervisor/bin/python uninstall --yes setuptools

FROM python:3.13-slim-trixie
# A fixed number, so that a volume or a tmpfs can be given to this user.
RUN groupadd --gid 10001 supervisor \
 && useradd --uid 10001 --gid supervisor --home-dir /nonexistent --no-create-home --shell /usr/sbin/nologin supervisor \
 && install --directory --owner=supervisor --group=supervisor --mode=0700 /run/kafka-supervisor
COPY --from=build /opt/kafka-supervisor /opt/kafka-supervisor
ENV PATH=/opt/kafka-supervisor/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    RUNTIME_DIRECTORY=/run/kafka-supervisor
USER supervisor
# Drains; stop_grace_period or --stop-timeout is to be longer than runtime.drain_timeout_s (docs/containers.md).
STOPSIGNAL SIGTERM
# As lists: through a shell, that would be process 1 and keep the signal to itself.
ENTRYPOINT ["supervisor"]
CMD ["start"]

# syntax=docker/dockerfile:1
# One image for every service: docker-compose.yml gives each its command.

FROM python:3.12-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
COPY requirements.lock .
# Only what the lock names, byte for byte
RUN /opt/venv/bin/pip install --require-hashes --only-binary :all: -r requirements.lock

FROM python:3.12-slim
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    DJANGO_SETTINGS_MODULE=myproject.settings \
    DATA_DIR=/data \
    STATIC_ROOT=/app/static
RUN groupadd --gid 10001 app && useradd --uid 10001 --gid app --no-create-home --shell /usr/sbin/nologin app \
    && install --directory --owner app --group app /data
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY . .
# Compiled once here, because the containers run on a read-only file system. The secrets that the settings make up
# for this step go to a folder that is deleted in the same layer.
RUN python -m compileall -q api_service workers myproject \
    && DATA_DIR=/tmp/build python manage.py collectstatic --noinput --verbosity 0 \
    && rm -r /tmp/build
USER app
EXPOSE 8000
CMD ["gunicorn", "--config", "deploy/gunicorn.conf.py", "myproject.wsgi"]

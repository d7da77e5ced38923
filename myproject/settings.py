"""Settings: every one from the environment, each named in .env.example."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Literal, cast

from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _
from marshmallow.validate import OneOf, Range, Regexp

from api_service.caches.urls import cache_config
from api_service.services.redaction import register_secrets
from myproject import alert_env
from myproject.env import (
    Environment,
    copy_target,
    database_config,
    health_rules,
    http_url,
    local_secret,
    ping_secrets,
    ping_urls,
    secret_parts,
    sentry_dsn,
)
from myproject.logs import logging_config
from myproject.security import security_config
from myproject.unfold import unfold_config
from workers.schedules import EVERY_MINUTE, beat_schedule, task_routes

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
BASE_DIR = Path(__file__).resolve().parent.parent
env = Environment()

# --- Project -----------------------------------------------------------------------------------------
DATA_DIR: Path = env.path("DATA_DIR", BASE_DIR / "var")
DEBUG: bool = env.bool("DEBUG", False)
SECRET_KEY: str = env.str("SECRET_KEY", "") or local_secret(DATA_DIR, "secret_key")
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", [])
# Bearer token of the look-up API
API_TOKEN: str = env.str("API_TOKEN", "") or local_secret(DATA_DIR, "api_token")
# Bearer token of operations on the cache; empty is closed
OPERATIONS_TOKEN: str = env.str("OPERATIONS_TOKEN", "")
# Bearer token of /metrics, of the web and of the workers; empty is closed
METRICS_TOKEN: str = env.str("METRICS_TOKEN", "")

INSTALLED_APPS = [
    # Before unfold, and that before the admin: the first one that has a template gives it
    "api_service",
    "unfold.apps.BasicAppConfig",
    "myproject.apps.OperationsAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_beat",
    # The reference page of the API comes from its own files
    "ninja",
    "workers",
]
MIDDLEWARE = [
    "api_service.request_ids.middleware",
    "django.middleware.security.SecurityMiddleware",
    "myproject.static_files.StaticFilesMiddleware",
    "myproject.pages.middleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "myproject.urls"
WSGI_APPLICATION = "myproject.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
# The page that DEBUG shows for an error lists the settings
DEFAULT_EXCEPTION_REPORTER_FILTER = "myproject.reporting.RedactingReporterFilter"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- The single-process run ----------------------------------------------------------------------------
WEB_HOST: str = env.str("WEB_HOST", "127.0.0.1")
WEB_PORT: int = env.int("WEB_PORT", 8000, validate=Range(1, 65535))
FLOWER_PORT: int = env.int("FLOWER_PORT", 5555, validate=Range(1, 65535))
# What the links in alerts begin with
PUBLIC_URL: str = env.str("PUBLIC_URL", f"http://{WEB_HOST}:{WEB_PORT}").rstrip("/")
SANDBOX_PORT: int = env.int("SANDBOX_PORT", 8899, validate=Range(1, 65535))
FLOWER_BASIC_AUTH: str = env.str("FLOWER_BASIC_AUTH", "") or f"admin:{local_secret(DATA_DIR, 'flower_password')}"

# --- Language and time -------------------------------------------------------------------------------
LANGUAGE_CODE = "es"
LANGUAGES = [("es", _("Spanish")), ("en", _("English"))]
TIME_ZONE = "America/Lima"
USE_TZ = True

# Peru writes 1,234.50 where Django's Spanish writes 1 234,50
FORMAT_MODULE_PATH = ["api_service.formats"]

# --- Static files ------------------------------------------------------------------------------------
STATIC_URL = "/static/"
STATIC_ROOT: Path = env.path("STATIC_ROOT", DATA_DIR / "static")
WHITENOISE_USE_FINDERS = True
STORAGES = {"staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"}}

# --- Uploads -------------------------------------------------------------------------------------------
FILE_UPLOAD_HANDLERS = [
    "myproject.uploads.BoundedUploads",
    "django.core.files.uploadhandler.MemoryFileUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]

# --- The admin -----------------------------------------------------------------------------------------
# What this deployment is called beside the title of every page; "prod…" is shown in red, empty not at all
ENVIRONMENT_LABEL: str = env.str("ENVIRONMENT_LABEL", "")
UNFOLD = unfold_config(ENVIRONMENT_LABEL)
# Where the login page leads when no other page asked for it
LOGIN_REDIRECT_URL = "admin:index"

# --- Who may log in, for how long, and what browsers are told (myproject/security.py) ------------------
# One switch, for a deployment behind a TLS proxy that sets X-Forwarded-Proto and X-Forwarded-For
HTTPS_ONLY: bool = env.bool("HTTPS_ONLY", False)
HSTS_SECONDS: int = env.int("HSTS_SECONDS", 31_536_000, validate=Range(min=0))
SESSION_HOURS: float = env.float("SESSION_HOURS", 12.0, validate=Range(min=0, min_inclusive=False))
# Wrong passwords for one name from one address, in so many minutes, before it has to wait; 0 never has to
LOGIN_FAILURES: int = env.int("LOGIN_FAILURES", 5, validate=Range(min=0))
LOGIN_MINUTES: int = env.int("LOGIN_MINUTES", 15, validate=Range(1, 1440))
globals().update(security_config(https_only=HTTPS_ONLY, hsts_seconds=HSTS_SECONDS, session_hours=SESSION_HOURS))

# --- Database ----------------------------------------------------------------------------------------
DATABASE_URL: str = env.str("DATABASE_URL", f"sqlite:///{DATA_DIR / 'db.sqlite3'}")
DATABASES = {"default": database_config(DATABASE_URL)}

# --- Cache -------------------------------------------------------------------------------------------
CACHE_URL: str = env.str("CACHE_URL", "locmem://")
# The other cache that the admin copies to; empty is none
COPY_CACHE_URL: str = env.str("COPY_CACHE_URL", "", validate=copy_target)
CACHE_TIMEOUT: float = env.float("CACHE_TIMEOUT", 0.5, validate=Range(min=0, min_inclusive=False))
CACHE_CONNECT_TIMEOUT: float = env.float("CACHE_CONNECT_TIMEOUT", 0.5, validate=Range(min=0, min_inclusive=False))
CACHE_RETRY_INTERVAL: float = env.float("CACHE_RETRY_INTERVAL", 5.0, validate=Range(min=0, min_inclusive=False))
CACHE_TTL_DEFAULT: int = env.int("CACHE_TTL_DEFAULT", 900, validate=Range(min=1))
CACHE_TTL_RUC: int = env.int("CACHE_TTL_RUC", 3600, validate=Range(min=1))
CACHE_TTL_INVALID_RUC: int = env.int("CACHE_TTL_INVALID_RUC", 86_400, validate=Range(min=1))
CACHE_TTL_RATE_LIMIT: int = env.int("CACHE_TTL_RATE_LIMIT", 60, validate=Range(min=1))
# Past its life time an answer is still shown for so long, while a newer one is fetched behind it
STALE_WHILE_REVALIDATE: int = env.int("STALE_WHILE_REVALIDATE", 900, validate=Range(min=0))
# And for so long while none can be had: APIMIGO is down, a limit is reached
STALE_IF_ERROR: int = env.int("STALE_IF_ERROR", 86_400, validate=Range(min=0))
# Of all who miss the same key one asks APIMIGO. If it is killed the others take over after so long.
# Memcached counts whole seconds of its own clock: a lock of one may be over at once.
FLIGHT_LOCK_SECONDS: int = env.int("FLIGHT_LOCK_SECONDS", 5, validate=Range(min=2))
CACHES = {
    "default": {
        **cache_config(
            CACHE_URL,
            timeout=CACHE_TIMEOUT,
            connect_timeout=CACHE_CONNECT_TIMEOUT,
            retry_interval=CACHE_RETRY_INTERVAL,
        ),
        "TIMEOUT": CACHE_TTL_DEFAULT,
        "KEY_PREFIX": env.str("CACHE_KEY_PREFIX", "", validate=Regexp(r"[!-~]{0,40}\Z")),
    }
}

# --- APIMIGO -----------------------------------------------------------------------------------------
MIGO_TOKEN: str = env.str("MIGO_TOKEN", "")
MIGO_API_VERSION = cast(Literal["v1", "v2"], env.str("MIGO_API_VERSION", "v1", validate=OneOf(["v1", "v2"])))
MIGO_BASE_URL: str = env.str("MIGO_BASE_URL", "", validate=http_url) or f"https://api.migo.pe/api/{MIGO_API_VERSION}"
MIGO_CONNECT_TIMEOUT: float = env.float("MIGO_CONNECT_TIMEOUT", 3.05, validate=Range(min=0, min_inclusive=False))
MIGO_READ_TIMEOUT: float = env.float("MIGO_READ_TIMEOUT", 10.0, validate=Range(min=0, min_inclusive=False))
MIGO_DEADLINE: float = env.float("MIGO_DEADLINE", 25.0, validate=Range(min=0, min_inclusive=False))
MIGO_ATTEMPTS: int = env.int("MIGO_ATTEMPTS", 3, validate=Range(min=1))
# Collection calls of one batch that are under way at once
MIGO_PARALLEL: int = env.int("MIGO_PARALLEL", 4, validate=Range(1, 32))
# The circuit breaker over all processes: so many failures within so many seconds leave APIMIGO alone for so long, then
# so many calls at once try it again; 0 failures never do
MIGO_CIRCUIT_FAILURES: int = env.int("MIGO_CIRCUIT_FAILURES", 5, validate=Range(min=0))
MIGO_CIRCUIT_WINDOW: float = env.float("MIGO_CIRCUIT_WINDOW", 30.0, validate=Range(min=0, min_inclusive=False))
MIGO_CIRCUIT_SECONDS: float = env.float("MIGO_CIRCUIT_SECONDS", 30.0, validate=Range(min=0, min_inclusive=False))
MIGO_CIRCUIT_PROBES: int = env.int("MIGO_CIRCUIT_PROBES", 2, validate=Range(min=1))
# Paid queries at most; 0 is no cap. Warming may use WARM_SHARE of each.
MIGO_MAX_PER_MINUTE: int = env.int("MIGO_MAX_PER_MINUTE", 0, validate=Range(min=0))
MIGO_MAX_PER_HOUR: int = env.int("MIGO_MAX_PER_HOUR", 0, validate=Range(min=0))
MIGO_MAX_PER_DAY: int = env.int("MIGO_MAX_PER_DAY", 0, validate=Range(min=0))
MIGO_MAX_PER_MONTH: int = env.int("MIGO_MAX_PER_MONTH", 0, validate=Range(min=0))
# What a single look-up waits for its place in a full minute; batches and warming have MIGO_DEADLINE
MIGO_RATE_WAIT: float = env.float("MIGO_RATE_WAIT", 1.0, validate=Range(min=0))
# The same for a minute and process while the cache is down and remembers no answer
OUTAGE_MAX_PER_MINUTE: int = env.int("OUTAGE_MAX_PER_MINUTE", 60, validate=Range(min=1))
# What one paid query costs, in soles: the pages then say money beside queries. 0 is not known
MIGO_QUERY_PRICE: Decimal = env.decimal("MIGO_QUERY_PRICE", Decimal(0), validate=Range(min=0))

# --- Answer store and read counts ----------------------------------------------------------------------
ANSWER_RETENTION_DAYS: int = env.int("ANSWER_RETENTION_DAYS", 30, validate=Range(min=1))
# About a gigabyte; 0 is no limit
ANSWER_MAX_ROWS: int = env.int("ANSWER_MAX_ROWS", 1_000_000, validate=Range(min=0))
# What a look-up waits for the database at most; 0 waits as long as it takes, in the caller's own transaction
ANSWER_STORE_SECONDS: float = env.float("ANSWER_STORE_SECONDS", 0.5, validate=Range(min=0))
# A process killed with -9 loses at most this many seconds of read counts; 0 writes only at the end
READ_FLUSH_SECONDS: float = env.float("READ_FLUSH_SECONDS", 5.0, validate=Range(min=0))
# Rows of keys that expired or were removed, and each service's history
TRACK_GONE_DAYS: int = env.int("TRACK_GONE_DAYS", 30, validate=Range(min=1))
TRACK_HISTORY_DAYS: int = env.int("TRACK_HISTORY_DAYS", 400, validate=Range(min=1))

# --- Warming -----------------------------------------------------------------------------------------
WARM_LIMIT: int = env.int("WARM_LIMIT", 500, validate=Range(min=0))
WARM_BUDGET: int = env.int("WARM_BUDGET", 200, validate=Range(min=0))
# Reads expected within one life time below which a refresh is not worth its query: at 0.25 a fast answer is worth
# three queries, as a refresh that is read in time has only been paid for earlier
WARM_BREAK_EVEN: float = env.float("WARM_BREAK_EVEN", 0.25, validate=Range(min=0))
# Seconds before its end from which an answer is refreshed: two runs, so that one of them may fail
WARM_LEAD: int = env.int("WARM_LEAD", 600, validate=Range(min=1))
# A scheduled run spreads its paid calls over so many seconds
WARM_SPREAD: int = env.int("WARM_SPREAD", 120, validate=Range(min=0))
# Of the RUCs of a run, the share that may be such as were known not to exist
WARM_RECHECK_SHARE: float = env.float("WARM_RECHECK_SHARE", 0.1, validate=Range(0, 1))
# Days of reads by which a refill knows the hottest answers
WARM_WINDOW_DAYS: int = env.int("WARM_WINDOW_DAYS", 7, validate=Range(min=1))
WARM_SHARE: float = env.float("WARM_SHARE", 0.5, validate=Range(0, 1))

# --- Health ------------------------------------------------------------------------------------------
HEALTH_LATENCY_WARNING_MS: float = env.float("HEALTH_LATENCY_WARNING_MS", 50.0, validate=Range(min=0))
HEALTH_MEMORY_WARNING: float = env.float("HEALTH_MEMORY_WARNING", 0.95, validate=Range(0, 1))
HEALTH_EVICTIONS_PER_MINUTE: float = env.float("HEALTH_EVICTIONS_PER_MINUTE", 60.0, validate=Range(min=0))
HEALTH_CONNECTIONS_WARNING: float = env.float("HEALTH_CONNECTIONS_WARNING", 0.9, validate=Range(0, 1))
HEALTH_REJECTED_PER_MINUTE: float = env.float("HEALTH_REJECTED_PER_MINUTE", 0.0, validate=Range(min=0))
# Low on purpose: what share of look-ups comes again differs from one business to the next. 0 never warns
HEALTH_HIT_RATIO_WARNING: float = env.float("HEALTH_HIT_RATIO_WARNING", 0.2, validate=Range(0, 1))
HEALTH_HIT_RATIO_GETS: int = env.int("HEALTH_HIT_RATIO_GETS", 200, validate=Range(min=1))
# Memory that Redis takes over memory that it uses; 0 never warns
HEALTH_FRAGMENTATION_WARNING: float = env.float("HEALTH_FRAGMENTATION_WARNING", 2.0, validate=Range(min=0))
# Share of a cap from which the health check warns
BUDGET_WARNING: float = env.float("BUDGET_WARNING", 0.8, validate=Range(0, 1))
# Days that the account's queries should last at least
ACCOUNT_DAYS_WARNING: float = env.float("ACCOUNT_DAYS_WARNING", 3.0, validate=Range(min=0))
# N of M runs before a finding counts, K good ones before it is over: "node_down=2/3/2, node_slow=3/5/3"
HEALTH_RULES: str = env.str("HEALTH_RULES", "", validate=health_rules)
# What needs traffic to be judged and has had too little for so long is over, as nobody knows any more; 0 waits for ever
HEALTH_UNJUDGED_HOURS: float = env.float("HEALTH_UNJUDGED_HOURS", 72.0, validate=Range(min=0))
# A run that contradicts what counts is repeated after so many seconds; 0 waits for the schedule
HEALTH_CONFIRM_SECONDS: int = env.int("HEALTH_CONFIRM_SECONDS", 20, validate=Range(0, 120))
# What a health run waits at most for all that it reads around the nodes; 0 reads in the run's own thread, however long
HEALTH_AROUND_SECONDS: float = env.float("HEALTH_AROUND_SECONDS", 3.0, validate=Range(0, 30))
# What workers have to answer; 0 does not ask them
HEALTH_WORKERS_SECONDS: float = env.float("HEALTH_WORKERS_SECONDS", 1.0, validate=Range(0, 10))
HEALTH_QUEUE_LENGTH: int = env.int("HEALTH_QUEUE_LENGTH", 100, validate=Range(min=0))
HEALTH_QUEUE_SECONDS: float = env.float("HEALTH_QUEUE_SECONDS", 600.0, validate=Range(min=0))
# Share of the calls of the last ten minutes that brought no answer, of at least so many
HEALTH_UPSTREAM_ERRORS: float = env.float("HEALTH_UPSTREAM_ERRORS", 0.2, validate=Range(0, 1))
HEALTH_UPSTREAM_CALLS: int = env.int("HEALTH_UPSTREAM_CALLS", 10, validate=Range(min=1))
HEALTH_DATABASE_MS: float = env.float("HEALTH_DATABASE_MS", 100.0, validate=Range(min=0))
# Inventories that a node may miss
HEALTH_TRACKING_PERIODS: float = env.float("HEALTH_TRACKING_PERIODS", 3.0, validate=Range(min=1))
HEALTH_RETENTION_DAYS: int = env.int("HEALTH_RETENTION_DAYS", 90, validate=Range(min=1))

# --- Metrics -----------------------------------------------------------------------------------------
# Of a worker's own page, for its children too; 0 is none
WORKER_METRICS_PORT: int = env.int("WORKER_METRICS_PORT", 0, validate=Range(0, 65535))
WORKER_METRICS_HOST: str = env.str("WORKER_METRICS_HOST", "127.0.0.1")

# --- Alerts ------------------------------------------------------------------------------------------
SLACK_WEBHOOK_URL: str = env.str("SLACK_WEBHOOK_URL", "", validate=http_url)
SENTRY_DSN: str = env.str("SENTRY_DSN", "", validate=sentry_dsn)
SENTRY_ENVIRONMENT: str = env.str("SENTRY_ENVIRONMENT", "production")
SENTRY_TRACES_SAMPLE_RATE: float = env.float("SENTRY_TRACES_SAMPLE_RATE", 0.0, validate=Range(0, 1))
# Where e-mail leaves (smtp://, smtp+tls:// or smtps://), from whom, and to whom
EMAIL_URL: str = env.str("EMAIL_URL", "", validate=alert_env.mail_url)
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.str("ALERT_EMAIL_FROM", "cache@localhost", validate=alert_env.mail_address)
ALERT_EMAIL_TO: list[str] = env.list("ALERT_EMAIL_TO", [], validate=alert_env.mail_addresses)
ALERT_WEBHOOK_URL: str = env.str("ALERT_WEBHOOK_URL", "", validate=http_url)
ALERT_WEBHOOK_SECRET: str = env.str("ALERT_WEBHOOK_SECRET", "", validate=alert_env.webhook_secret)
# Separated by spaces: an address may hold commas
ALERT_APPRISE_URLS: list[str] = (env.str("ALERT_APPRISE_URLS", "", validate=alert_env.apprise_urls) or "").split()
# "slack=warning, webhook=unhealthy:node_*|cache_*": who hears of what; without a rule everything from warning up
ALERT_ROUTES: str = env.str("ALERT_ROUTES", "", validate=alert_env.alert_routes)
# "email, apprise": who is told when nobody takes an incident on
ALERT_ESCALATE_TO: str = env.str("ALERT_ESCALATE_TO", "", validate=alert_env.alert_channels)
ALERT_LANGUAGE: str = env.str("ALERT_LANGUAGE", "es", validate=OneOf(["es", "en"]))
RUNBOOK_URL: str = env.str("RUNBOOK_URL", "")
# Hours between two reminders of what is unhealthy, and of a warning; 0 never reminds
ALERT_REMIND_HOURS: float = env.float("ALERT_REMIND_HOURS", 6.0, validate=Range(min=0))
ALERT_REMIND_WARNING_HOURS: float = env.float("ALERT_REMIND_WARNING_HOURS", 24.0, validate=Range(min=0))
# What is unhealthy, told, and acknowledged by nobody is escalated after so many minutes; 0 never
ALERT_ESCALATE_MINUTES: float = env.float("ALERT_ESCALATE_MINUTES", 30.0, validate=Range(min=0))
# So many changes within so many minutes are coming and going, until there was none for so long; 0 changes never are
ALERT_FLAP_CHANGES: int = env.int("ALERT_FLAP_CHANGES", 4, validate=Range(0, 20))
ALERT_FLAP_WINDOW_MINUTES: float = env.float("ALERT_FLAP_WINDOW_MINUTES", 60.0, validate=Range(min=1))
ALERT_FLAP_QUIET_MINUTES: float = env.float("ALERT_FLAP_QUIET_MINUTES", 30.0, validate=Range(min=1))

# --- Who watches the watcher ---------------------------------------------------------------------------
# Seconds that a schedule may be late
BEAT_MARGIN_SECONDS: int = env.int("BEAT_MARGIN_SECONDS", 300, validate=Range(min=1))
HEALTHCHECK_PING_URL: str = env.str("HEALTHCHECK_PING_URL", "", validate=ping_urls)

# --- Celery ------------------------------------------------------------------------------------------
CELERY_BROKER_URL: str = env.str("CELERY_BROKER_URL", "memory://")
CELERY_RESULT_BACKEND: str = env.str("CELERY_RESULT_BACKEND", "") or (
    CELERY_BROKER_URL if CELERY_BROKER_URL.startswith("redis") else "cache+memory://"
)
CELERY_RESULT_EXPIRES = 86_400
CELERY_TIMEZONE = TIME_ZONE
CELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = CELERY_RESULT_ACCEPT_CONTENT = ["json"]
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = task_routes()
# Tasks are idempotent: one cut off by a killed worker is run again
CELERY_TASK_ACKS_LATE = CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SEND_TASK_EVENTS = CELERY_TASK_SEND_SENT_EVENT = True
CELERY_TASK_TRACK_STARTED = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_TIMEOUT = 3
CELERY_BROKER_TRANSPORT_OPTIONS = (
    {"polling_interval": 0.05}
    if CELERY_BROKER_URL.startswith("memory")
    else {"visibility_timeout": 3600, "socket_connect_timeout": 3, "socket_keepalive": True, "max_retries": 3}
)
CELERY_REDIS_SOCKET_CONNECT_TIMEOUT = 3
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
# The last run of each schedule is written at once, not every three minutes: operators and `check_beat` read it
CELERY_BEAT_SYNC_EVERY = 1
# standard: the crontabs of workers/schedules.py; fast: every task each minute, to see the system live;
# auto: fast when `run_all` plays the sandbox, else standard
SCHEDULES: str = env.str("SCHEDULES", "auto", validate=OneOf(["auto", "standard", "fast"]))
# Seconds between two health runs, and between two warm runs
HEALTH_PERIOD = 60 if SCHEDULES == EVERY_MINUTE else 300
WARM_PERIOD = 60 if SCHEDULES == EVERY_MINUTE else 300
# And between two inventories
TRACK_PERIOD = 60 if SCHEDULES == EVERY_MINUTE else 600

# --- Logging -----------------------------------------------------------------------------------------
LOG_LEVEL: str = (env.str("LOG_LEVEL", "INFO", validate=OneOf([*LEVELS, *map(str.lower, LEVELS)])) or "INFO").upper()
LOGGING = logging_config(LOG_LEVEL)

env.check()
if OPERATIONS_TOKEN and OPERATIONS_TOKEN == API_TOKEN:
    raise ImproperlyConfigured("OPERATIONS_TOKEN is the same as API_TOKEN: who may look up RUCs could clear the cache.")
if METRICS_TOKEN and METRICS_TOKEN in {API_TOKEN, OPERATIONS_TOKEN}:
    raise ImproperlyConfigured("METRICS_TOKEN is that of look-ups or operations: who reads figures could spend money.")
if MIGO_BASE_URL.rstrip("/").endswith({"v1": "/v2", "v2": "/v1"}[MIGO_API_VERSION]):
    raise ImproperlyConfigured(f"MIGO_BASE_URL ends in the other version than MIGO_API_VERSION={MIGO_API_VERSION}.")

alert_env.check_alerts(
    mail_url=EMAIL_URL,
    mail_to=ALERT_EMAIL_TO,
    webhook_url=ALERT_WEBHOOK_URL,
    webhook_secret=ALERT_WEBHOOK_SECRET,
)
globals().update(alert_env.mail_config(EMAIL_URL))
# The addresses that are told of the start and the end of each run, by schedule
PING_URLS: dict[str, str] = ping_urls(HEALTHCHECK_PING_URL)

CELERY_BEAT_SCHEDULE = beat_schedule(SCHEDULES)

SECRETS = [
    *(
        SECRET_KEY,
        API_TOKEN,
        OPERATIONS_TOKEN,
        METRICS_TOKEN,
        MIGO_TOKEN,
        SLACK_WEBHOOK_URL,
        SENTRY_DSN,
        ALERT_WEBHOOK_URL,
        ALERT_WEBHOOK_SECRET,
        FLOWER_BASIC_AUTH.partition(":")[2],
    ),
    *secret_parts(DATABASE_URL, CACHE_URL, COPY_CACHE_URL, CELERY_BROKER_URL, CELERY_RESULT_BACKEND, EMAIL_URL),
    *alert_env.apprise_secrets(ALERT_APPRISE_URLS),
    *ping_secrets(PING_URLS.values()),
]
register_secrets(SECRETS)

if SENTRY_DSN:
    from myproject.sentry import init_sentry

    init_sentry(SENTRY_DSN, environment=SENTRY_ENVIRONMENT, traces_sample_rate=SENTRY_TRACES_SAMPLE_RATE)

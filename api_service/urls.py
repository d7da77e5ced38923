"""URLs of the HTTP interface."""

from django.urls import include, path, re_path

from api_service import clearing_views, history_views, metrics_views, views
from api_service.api.application import nothing_here

urlpatterns = [
    # Any text up to the next slash: a RUC that cannot exist gets its answer in JSON, not a page
    re_path(r"^api/v1/ruc/(?P<ruc>[^/]*)/?$", views.ruc, name="ruc"),
    path("api/v1/cache/clear", clearing_views.start, name="cache-clear"),
    path("api/v1/cache/clear/<int:number>", clearing_views.of_run, name="cache-clear-run"),
    path("metrics", metrics_views.metrics, name="metrics"),
    path("api/v1/", include("api_service.api.application")),
    re_path(r"^api/v1/", nothing_here, name="api-nothing-here"),
    path("health/live", views.live, name="health-live"),
    path("health/ready", views.ready, name="health-ready"),
    path("health/cache", views.cache_health, name="health-cache"),
    path("health/beat", views.beat_health, name="health-beat"),
    path("health/cache/history", history_views.history, name="health-cache-history"),
]

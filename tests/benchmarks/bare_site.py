"""The site with one view more: the least that Django can do with a cached answer. What gunicorn serves to `api`."""

from django.conf import settings
from django.core.cache import cache
from django.http import HttpRequest, JsonResponse
from django.urls import path

from myproject.wsgi import application

__all__ = ["application", "urlpatterns"]


def bare(_request: HttpRequest, ruc: str) -> JsonResponse:
    return JsonResponse(cache.get(f"migo:ruc_{ruc}"))


settings.ROOT_URLCONF = __name__

from myproject.urls import urlpatterns as ours  # noqa: E402 - they need the settings that the application has set up

urlpatterns = [path("bare/<ruc>", bare), *ours]

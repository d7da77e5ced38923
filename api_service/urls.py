"""URLs of the HTTP interface."""

from django.urls import URLPattern

urlpatterns: list[URLPattern] = []

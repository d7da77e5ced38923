"""Addresses of the RUC pages, beside the admin's own and behind its door."""

from django.contrib import admin
from django.urls import path

from api_service.admin import ruc_acts, ruc_page

app_name = "ruc"
urlpatterns = [
    path("", admin.site.admin_view(ruc_page.search), name="search"),
    path("<str:number>/", admin.site.admin_view(ruc_page.page), name="page"),
    path("<str:number>/<slug:act>/", admin.site.admin_view(ruc_acts.act_page), name="act"),
]

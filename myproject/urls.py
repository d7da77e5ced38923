"""URLs of the project: the admin and the service's own."""

from django.contrib import admin
from django.urls import include, path
from django.views.generic import RedirectView

from api_service.admin.accounts import own_password

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index", permanent=False)),
    path("i18n/", include("django.conf.urls.i18n")),
    # Before the admin, which answers everything below its address
    path("admin/dashboard/", include("api_service.admin.dashboard.views")),
    path("admin/ruc/", include("api_service.admin.ruc_urls")),
    path("admin/password_change/", own_password),
    path("admin/", admin.site.urls),
    path("", include("api_service.urls")),
]

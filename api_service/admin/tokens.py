"""Tokens of the HTTP API: made here, shown once, revoked here."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.debug import sensitive_variables

from api_service.admin import display, words
from api_service.admin.base import TableAdmin
from api_service.admin.run_by_hand import Run, RunByHand
from api_service.models import ApiToken
from api_service.services import api_tokens, token_rules
from api_service.services.token_rules import State


class TokenForm(forms.Form):
    """A token to be made."""

    name = forms.CharField(
        label=_("Name"), max_length=100, help_text=_("Who will use it for what, such as: invoicing, production.")
    )
    scopes = forms.MultipleChoiceField(
        label=_("Scopes"), choices=list(words.SCOPES.items()), widget=forms.CheckboxSelectMultiple
    )
    days = forms.IntegerField(
        label=_("Days"),
        required=False,
        min_value=1,
        max_value=3650,
        initial=365,
        help_text=_("It expires after so many. Empty: never."),
    )
    per_minute = forms.IntegerField(
        label=_("Requests a minute"),
        min_value=0,
        max_value=api_tokens.MOST_PER_MINUTE,
        initial=api_tokens.DEFAULT_PER_MINUTE,
        help_text=_("Of all its users together; 0 is no limit. A batch counts one for each hundred RUCs."),
    )


@admin.register(ApiToken)
class ApiTokenAdmin(RunByHand, TableAdmin[ApiToken]):
    # No worker has a part in it
    run = Run(task="", button=_("Make a token"), sent=_("The token has been made."), form=TokenForm)
    change_form_template = "api_service/admin/token.html"
    list_display = ("name", "prefix", "state_badge", "scopes_text", "limit_text", "used", "ends", "created_by")
    search_fields = ("name", "prefix")
    ordering = ("-pk",)
    fields = (
        *("name", "prefix", "state_badge", "scopes_text", "limit_text", "used", "ends", "created_by", "made"),
        *("revoked_text", "revoked_by"),
    )

    # -- making one

    @sensitive_variables("text")
    def _start(self, request: HttpRequest, kwargs: dict[str, Any]) -> HttpResponse:
        """Its only page: nothing is sent to a worker, and the text goes through no redirect, message or cookie."""
        now, days = timezone.now(), kwargs["days"]
        row, text = api_tokens.create(
            kwargs["name"],
            kwargs["scopes"],
            by=request.user.get_username(),
            now=now,
            expires_at=now + timedelta(days=days) if days else None,
            per_minute=kwargs["per_minute"],
        )
        self.log_addition(request, row, [{"added": {}}])
        context = {**self.admin_site.each_context(request), "title": row.name, "opts": self.opts, "token": text}
        return TemplateResponse(request, "api_service/admin/new_token.html", context)

    # -- revoking one

    def get_urls(self) -> list[URLPattern]:
        view, name = self.admin_site.admin_view(self.revoke_view), f"{self.opts.app_label}_{self.opts.model_name}"
        return [path("<path:object_id>/revoke/", view, name=f"{name}_revoke"), *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        row = self.get_object(request, unquote(object_id))
        can_revoke = row is not None and row.revoked_at is None and self._may_revoke(request)
        context = {"revoke_url": self._url("revoke", row) if row and can_revoke else None}
        return super().change_view(request, object_id, form_url, {**context, **(extra_context or {})})

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if not self._may_revoke(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        row = self.get_object(request, unquote(object_id))
        if row is None:
            raise Http404
        api_tokens.revoke(row.prefix, by=request.user.get_username(), now=timezone.now())
        self.log_change(request, row, gettext("revoked"))
        self.message_user(request, gettext("Within seconds it opens nothing any more."), messages.SUCCESS)
        return HttpResponseRedirect(self._url("change", row))

    def _may_revoke(self, request: HttpRequest) -> bool:
        return request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")

    def _url(self, page: str, row: ApiToken) -> str:
        return reverse(f"{self.admin_site.name}:{self.opts.app_label}_{self.opts.model_name}_{page}", args=[row.pk])

    # -- columns

    @admin.display(description=_("state"))
    def state_badge(self, row: ApiToken) -> SafeString:
        state = token_rules.state(row.expires_at, revoked=row.revoked_at is not None, now=timezone.now())
        return display.badge(_TONES[state], words.TOKEN_STATES[state])

    @admin.display(description=_("scopes"))
    def scopes_text(self, row: ApiToken) -> str:
        return ", ".join(str(words.SCOPES.get(scope, scope)) for scope in row.scopes)

    @admin.display(description=_("requests a minute"))
    def limit_text(self, row: ApiToken) -> str:
        return display.number(row.per_minute) if row.per_minute else gettext("no limit")

    @admin.display(description=_("last used"))
    def used(self, row: ApiToken) -> SafeString | str:
        return display.age(row.last_used_at, timezone.now())

    @admin.display(description=_("expires"))
    def ends(self, row: ApiToken) -> SafeString | str:
        return display.age(row.expires_at, timezone.now())

    @admin.display(description=_("made"))
    def made(self, row: ApiToken) -> SafeString | str:
        return display.age(row.created_at, timezone.now())

    @admin.display(description=_("revoked"))
    def revoked_text(self, row: ApiToken) -> SafeString | str:
        return display.age(row.revoked_at, timezone.now())


_TONES = {State.ACTIVE: "active", State.EXPIRED: "expired", State.REVOKED: "removed"}

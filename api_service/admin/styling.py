"""Fields of forms that Django's admin did not build itself, in unfold's look."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django import forms

if TYPE_CHECKING:
    CHECKBOX_CLASSES: list[str] = []
    FILE_CLASSES: list[str] = []
    INPUT_CLASSES: list[str] = []
    SELECT_CLASSES: list[str] = []
    TEXTAREA_CLASSES: list[str] = []
else:
    # unfold has no types
    from unfold.widgets import CHECKBOX_CLASSES, FILE_CLASSES, INPUT_CLASSES, SELECT_CLASSES, TEXTAREA_CLASSES

# The first one that the widget is counts; the templates draw the arrow of a select, and a list of boxes whose classes
# are not those of the box
_LOOKS: tuple[tuple[type[forms.Widget], list[str], str | None], ...] = (
    (forms.CheckboxSelectMultiple, CHECKBOX_CLASSES, "unfold/widgets/radio.html"),
    (forms.CheckboxInput, CHECKBOX_CLASSES, None),
    (forms.FileInput, FILE_CLASSES, None),
    (forms.Select, SELECT_CLASSES, "unfold/widgets/select.html"),
    (forms.Textarea, TEXTAREA_CLASSES, None),
    (forms.Widget, INPUT_CLASSES, None),
)


def dress(form: forms.BaseForm, *names: str) -> None:
    """The named fields of a form, all when none is named."""
    for name in names or form.fields:
        _dress_widget(form.fields[name].widget)


def _dress_widget(widget: forms.Widget) -> None:
    classes, template = next(look[1:] for look in _LOOKS if isinstance(widget, look[0]))
    widget.attrs["class"] = " ".join([*classes, widget.attrs.get("class", "")]).strip()
    if template is not None:
        widget.template_name = template

"""One incident for the whole cache becomes one for each trouble: the open one ends, the next run opens what is left."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.utils import timezone


def close(apps: Apps, _editor: BaseDatabaseSchemaEditor) -> None:
    """Messages of the old kind cannot be told by the new code; the incidents stay as history."""
    apps.get_model("api_service", "Delivery").objects.all().delete()
    apps.get_model("api_service", "Incident").objects.filter(resolved_at=None).update(resolved_at=timezone.now())


class Migration(migrations.Migration):
    dependencies = [
        ("api_service", "0006_health_around"),
    ]

    operations = [
        migrations.RunPython(close, migrations.RunPython.noop),
    ]

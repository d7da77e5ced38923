from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api_service", "0014_invalid_reasons"),
    ]

    operations = [
        migrations.AddField(
            model_name="healthsample",
            name="unknown",
            field=models.JSONField(null=True, verbose_name="not judged"),
        ),
        migrations.AddField(
            model_name="schedulerun",
            name="on_since",
            field=models.DateTimeField(blank=True, null=True, verbose_name="on since"),
        ),
    ]

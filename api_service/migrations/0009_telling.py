from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api_service", "0008_incidents"),
    ]

    operations = [
        migrations.AddField(
            model_name="channelstate",
            name="configured",
            field=models.BooleanField(default=False, verbose_name="configured"),
        ),
        migrations.AddField(
            model_name="channelstate",
            name="succeeded_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="last success"),
        ),
        migrations.AddField(
            model_name="channelstate",
            name="failed_at",
            field=models.DateTimeField(blank=True, null=True, verbose_name="last failure"),
        ),
        migrations.AddField(
            model_name="channelstate",
            name="error",
            field=models.CharField(blank=True, max_length=300, verbose_name="last error"),
        ),
    ]

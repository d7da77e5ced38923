from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api_service", "0010_telling"),
    ]

    operations = [
        migrations.CreateModel(
            name="ScheduleRun",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.CharField(max_length=200, unique=True, verbose_name="schedule")),
                ("task", models.CharField(max_length=200, verbose_name="task")),
                ("waiting_since", models.DateTimeField(blank=True, null=True, verbose_name="waiting since")),
                ("started_at", models.DateTimeField(blank=True, null=True, verbose_name="last start")),
                ("succeeded_at", models.DateTimeField(blank=True, null=True, verbose_name="last success")),
                ("failed_at", models.DateTimeField(blank=True, null=True, verbose_name="last failure")),
                ("duration", models.FloatField(blank=True, null=True, verbose_name="duration (s)")),
                ("error", models.CharField(blank=True, max_length=300, verbose_name="error")),
            ],
            options={
                "verbose_name": "run of a schedule",
                "verbose_name_plural": "runs of schedules",
            },
        ),
    ]

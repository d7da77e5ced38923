from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api_service", "0016_roles"),
    ]

    operations = [
        migrations.AddField(
            model_name="warmrun",
            name="requested_by",
            field=models.CharField(blank=True, db_default="", max_length=150, verbose_name="requested by"),
        ),
        migrations.AddIndex(
            model_name="warmedanswer",
            index=models.Index(fields=["identifier", "warmed_at"], name="warms_of_identifier"),
        ),
    ]

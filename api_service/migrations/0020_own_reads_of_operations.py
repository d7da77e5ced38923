"""The column that goes is of 0019, which no release has had: no worker of the release before asks for it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("api_service", "0019_own_reads_of_inventories"),
    ]

    operations = [
        migrations.CreateModel(
            name="OperationReads",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("node", models.CharField(max_length=255, verbose_name="node")),
                (
                    "operation",
                    models.CharField(
                        choices=[
                            ("inventory", "key inventory"),
                            ("reasons", "reasons of invalid RUCs"),
                            ("warm_run", "warm run"),
                            ("clean_up", "nightly clean-up"),
                            ("copy", "copy"),
                            ("statistics", "statistics"),
                        ],
                        max_length=20,
                        verbose_name="operation",
                    ),
                ),
                ("began_at", models.DateTimeField(verbose_name="began")),
                ("over_by", models.DateTimeField(db_index=True, verbose_name="over by")),
                ("hits_before", models.PositiveBigIntegerField(null=True, verbose_name="hits before")),
                ("hits_after", models.PositiveBigIntegerField(null=True, verbose_name="hits after")),
                ("hits", models.PositiveBigIntegerField(null=True, verbose_name="own hits")),
                ("misses", models.PositiveBigIntegerField(null=True, verbose_name="own misses")),
            ],
            options={
                "verbose_name": "own reads",
                "verbose_name_plural": "own reads",
            },
        ),
        migrations.RemoveField(
            model_name="nodelisting",
            name="own_reads",
        ),
    ]

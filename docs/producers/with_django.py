"""Django, with the outbox in the application's own database: python with_django.py FILE"""

import json
import sys

import django
from django.conf import settings
from django.db import connection, models, transaction

if not settings.configured:  # your project has settings of its own; these are their parts that matter
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": sys.argv[1],
                # busy_timeout, and a transaction that does not fail when it begins to write beside another writer
                "OPTIONS": {"timeout": 5, "transaction_mode": "IMMEDIATE"},
            }
        }
    )
    django.setup()


class OutboxEvent(models.Model):
    """A row of the outbox; `almirant-webhooks outbox-sql` prints the tables for a migration (RunSQL)."""

    event_id = models.CharField(max_length=128)
    project_id = models.CharField(max_length=128)
    event_type = models.CharField(max_length=128)
    payload = models.TextField()
    occurred_at = models.TextField()

    class Meta:
        """Not Django's to make or change."""

        app_label = "webhooks"
        managed = False
        db_table = "outbox"


def tell(project_id, event_type, payload, event_id):
    """Insert an event once; call it inside the transaction of the change that it tells of."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO outbox (project_id, event_type, payload, event_id) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (project_id, event_id) DO NOTHING",
            [project_id, event_type, json.dumps(payload), event_id],
        )


with transaction.atomic():  # one short transaction: both rows or neither
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders (item) VALUES ('boots')")  # your models, in your application
    tell("proj_1", "lead.created", {"lead": {"id": "lead_52"}}, "lead-52-created")

assert OutboxEvent.objects.filter(event_id="lead-52-created").count() == 1

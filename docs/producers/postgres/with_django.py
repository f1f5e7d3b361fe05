"""Django with psycopg 3: python with_django.py URL"""

import json
import sys

import django
from django.conf import settings
from django.db import connection, transaction
from psycopg.conninfo import conninfo_to_dict

if not settings.configured:  # your project has settings of its own; this is their part that matters
    parts = conninfo_to_dict(sys.argv[1])
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": parts.pop("dbname"),
                "USER": parts.pop("user"),
                "OPTIONS": parts,  # libpq's: host, port, sslmode
            }
        }
    )
    django.setup()


def tell(project_id, event_type, payload, event_id):
    """Insert an event once; call it inside the transaction of the change that it tells of."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO almirant_webhooks.outbox (project_id, event_type, payload, event_id) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (project_id, event_id) DO NOTHING",
            [project_id, event_type, json.dumps(payload), event_id],
        )


with transaction.atomic():  # one transaction: both rows or neither
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders (item) VALUES ('boots')")  # your models, in your application
    tell("proj_1", "lead.created", {"lead": {"id": "lead_52"}}, "lead-52-created")

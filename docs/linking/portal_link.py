"""Ask for a link to a project's webhooks, on the application's server: ALMIRANT_TOKEN=… python portal_link.py ADDRESS PROJECT [ACTOR]"""

import json
import os
import sys
from urllib.request import Request, urlopen

address, project, *actor = sys.argv[1:]  # http://127.0.0.1:8420 proj_1 maria@example.com
request = Request(
    f"{address}/api/v1/portal-links",
    data=json.dumps({"project_id": project, "actor": actor[0] if actor else None}).encode(),
    headers={"Authorization": f"Bearer {os.environ['ALMIRANT_TOKEN']}", "Content-Type": "application/json"},
)
with urlopen(request, timeout=5) as answer:
    print(json.load(answer)["url"])  # redirect the user there (302 or 303), at once

"""Work beside delivery, in bounded steps: removing old rows, watching webhooks, bulk resends."""

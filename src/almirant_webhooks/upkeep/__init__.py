"""Work beside delivery, in bounded steps: old rows are removed, webhooks are watched, deliveries are resent in bulk."""

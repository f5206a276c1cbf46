"""The consumer: records of the topic `undelivered-messages` become per-user mailboxes."""

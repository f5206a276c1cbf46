"""Kafka, as the worker and the commands use it."""

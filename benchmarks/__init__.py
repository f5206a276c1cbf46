"""The demo, and measurements of whole processes."""

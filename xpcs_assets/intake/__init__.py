"""Intake over HTTP and from Kafka: it is heard that runs are complete, and what is refused is kept to be mended."""

"""Steps of the schema, ``vNNNN_topic.py``; ``SCHEMA`` in ``copies/database.py`` names the last."""

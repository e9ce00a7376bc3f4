"""The wire formats of the model server, a module each.

A protocol decodes a request into :class:`~liminal_assets.serving.protocols.records.Rows`, asks the
engine, and encodes its answer or refusal in its own form. None knows of another, nor of sockets.

| module | speaks |
|---|---|
| ``routes`` | paths, methods, and what answers them |
| ``predict`` | our own ``/predict``: ``records`` and ``typed`` read JSON, ``arrow`` reads Arrow |
"""

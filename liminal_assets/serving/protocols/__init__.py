"""The wire formats of the model server, a module each.

A protocol decodes a request into :class:`~liminal_assets.serving.protocols.records.Rows`, asks the
engine, and encodes its answer or refusal in its own form. None knows of another, nor of sockets.

| module | speaks |
|---|---|
| ``routes`` | paths, methods, and what answers them |
| ``predict`` | our own ``/predict``: ``records`` and ``typed`` read JSON, ``arrow`` reads Arrow |
| ``feedback`` | ``/feedback``, labels of predictions |
| ``mlflow`` | MLflow's ``/invocations``, ``/ping``, ``/health``, ``/version`` |
| ``inference`` | the Open Inference Protocol over HTTP; its ``tensors`` are those of gRPC too |
| ``inference_grpc`` | the same over gRPC, with ``inference_messages``; imported only if asked for |
"""

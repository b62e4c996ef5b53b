"""What cannot be used is named in a line with what to do, at once and before anything is built.

Against servers that stand in for those of Spark Connect; with a cluster: `test_engines`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from commands.doctor import installation
from ctwa.settings import Settings
from orchestration.spark import SparkError, look

pytestmark = pytest.mark.spark


@contextmanager
def stand_in(answer: Callable[[Any, Any], Any]) -> Iterator[str]:
    """The address of a gRPC server that gives this answer to every call."""
    import grpc
    from pyspark.sql.connect.proto import base_pb2

    class Calls(grpc.GenericRpcHandler):  # type: ignore[misc]
        def service(self, call: Any) -> Any:
            kind = call.method.rpartition("/")[2]
            request = getattr(base_pb2, f"{kind}Request", base_pb2.ExecutePlanRequest)
            return grpc.unary_unary_rpc_method_handler(
                answer,
                request_deserializer=request.FromString,
                response_serializer=lambda given: given.SerializeToString(),
            )

    server = grpc.server(ThreadPoolExecutor(4), handlers=[Calls()])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"sc://127.0.0.1:{port}"
    finally:
        server.stop(None)


def refuses(given: Any, context: Any) -> None:
    import grpc

    context.abort(grpc.StatusCode.UNAUTHENTICATED, "token expired")


def is_of_version_3(given: Any, context: Any) -> Any:
    from pyspark.sql.connect.proto import base_pb2 as proto

    if isinstance(given, proto.AnalyzePlanRequest):
        version = proto.AnalyzePlanResponse.SparkVersion(version="3.5.6")
        return proto.AnalyzePlanResponse(session_id=given.session_id, spark_version=version)
    return proto.ConfigResponse(session_id=given.session_id)


def says(make_settings: Callable[..., Settings], url: str) -> str:
    """Why `ctwa doctor` and a refresh do not use it; within the time that a person waits."""
    settings = make_settings(engine="spark", spark_url=url)
    began = time.monotonic()
    with pytest.raises(SparkError) as refused:
        look(settings)
    assert time.monotonic() - began < 60
    return str(refused.value)


def test_an_expired_token(make_settings: Callable[..., Settings]) -> None:
    with stand_in(refuses) as url:
        assert says(make_settings, url) == (
            "127.0.0.1 refuses the token in CTWA_SPARK_URL (expired?): put a new one in"
        )


def test_an_older_spark(make_settings: Callable[..., Settings]) -> None:
    with stand_in(is_of_version_3) as url:
        found = says(make_settings, url)
        assert found == "the cluster runs Spark 3.5.6: 4.0 or newer is needed"
        (line,) = installation.engine(make_settings(engine="spark", spark_url=url))
        assert (line.found, line.fix) == ("the cluster runs Spark 3.5.6", "4.0 or newer is needed")


def test_tls_where_there_is_none(make_settings: Callable[..., Settings]) -> None:
    with stand_in(refuses) as url:
        found = says(make_settings, f"{url}/;use_ssl=true")
        assert "does not speak Spark Connect: put the Connect server's port into CTWA_S" in found

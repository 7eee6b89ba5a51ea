"""An S3 server on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module")
def s3_folder() -> Iterator[str]:
    """An empty bucket, s3://..., on a server of this machine's own."""
    from moto.moto_server.threaded_moto_server import ThreadedMotoServer

    from st_ray.store.s3 import ObjectStore

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        # File systems are cached by their arguments, which do not name the server.
        ObjectStore.clear_instance_cache()
        ObjectStore().mkdir("readers-test")
        yield "s3://readers-test"
        ObjectStore.clear_instance_cache()
    server.stop()

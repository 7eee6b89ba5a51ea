"""S3 through s3fs, with one layer of tries: what botocore has given up on is not tried anew by s3fs."""

from __future__ import annotations

import os
from typing import Any

from botocore import exceptions
from fsspec.asyn import sync_wrapper
from s3fs import S3FileSystem
from s3fs.core import S3_RETRYABLE_ERRORS, _error_wrapper, version_id_kw
from s3fs.errors import translate_boto_error

_TRIES = 6
"""Of a request, with random waits of up to 1, 2, 4, 8, 16 seconds between, unless AWS_MAX_ATTEMPTS is set.

Who does not answer at all is waited for 15 seconds each time, and less than two minutes in all.
"""
_BRIEF_TRIES = 2
"""The same, of who would rather come again soon."""


def open_s3(url: str, brief: bool) -> tuple[ObjectStore, str]:
    """The store of `url` and the path within it; see `fs.open_fs`. Brief requests have connections of their own.

    s3fs does not try again what was cut short where it splits a body into requests of its own, hence no concurrency.
    """
    tries = {} if "AWS_MAX_ATTEMPTS" in os.environ else {"total_max_attempts": _TRIES}
    if brief:
        tries = {"total_max_attempts": _BRIEF_TRIES}
    config = {"retries": {"mode": "legacy", **tries}}
    version = ObjectStore._get_kwargs_from_urls(url)
    store = ObjectStore(use_listings_cache=False, max_concurrency=1, config_kwargs=config, **version)
    return store, store._strip_protocol(url)


class ObjectStore(S3FileSystem):
    """s3fs as it is, but for what it tries again.

    botocore tries a request again, after a growing wait, that met a 5xx, 429 or RequestTimeout, or lost its
    connection. s3fs would then try all that again, and once more where it reads a body: a store that is gone was asked
    125 times. It is left with what botocore does not see: bodies that are cut short.
    """

    async def _call_s3(self, method: str, *given: Any, **kwargs: Any) -> Any:
        await self.set_session()
        request = getattr(await self.get_s3(kwargs.get("Bucket")), method)
        arguments = self._get_s3_method_kwargs(request, *given, **kwargs)
        return await _error_wrapper(_answer, args=(request,), kwargs=arguments, retries=self.retries)

    async def _file_size(self, path: str) -> int:
        bucket, key, version = self.split_path(path)
        found = await self._call_s3("head_object", self.kwargs, Bucket=bucket, Key=key, **version_id_kw(version))
        return int(found["ContentLength"])

    file_size = sync_wrapper(_file_size)
    """Bytes of the object at a path; FileNotFoundError where there is none. `info` would then list, for a folder."""


async def _answer(request: Any, **arguments: Any) -> Any:
    """What S3 answers, or an error that `_error_wrapper` takes for final."""
    try:
        return await request(**arguments)
    except (exceptions.ConnectionError, exceptions.HTTPClientError, exceptions.ClientError) as error:
        final = translate_boto_error(error)
        if isinstance(final, (exceptions.ConnectionError, *S3_RETRYABLE_ERRORS)):
            final = ConnectionError(str(error))
        raise final from error

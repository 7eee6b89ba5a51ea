"""From a command line (and `--config job.yaml`) to a config dataclass, and from errors to one message and a status."""

from __future__ import annotations

import ast
import atexit
import contextlib
import dataclasses
import functools
import inspect
import io
import itertools
import os
import posixpath
import re
import sys
import textwrap
import traceback
import typing
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import tyro
import yaml

from st_ray.core.errors import ConfigError, StRayError, masked
from st_ray.runtime.config import Names
from st_ray.runtime.log import Log, current_log, logging_as
from st_ray.runtime.report.command import job_of
from st_ray.runtime.result import JobResult
from st_ray.runtime.session import stop_on_signals
from st_ray.store import fs
from st_ray.store.versions import at_version, read_pointer

Config = TypeVar("Config")

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_registry = tyro.constructors.ConstructorRegistry()


@_registry.primitive_rule
def _names_rule(info: tyro.constructors.PrimitiveTypeInfo) -> tyro.constructors.PrimitiveConstructorSpec[Names] | None:
    """`a,b` on the command line is `Names(("a", "b"))`."""
    if info.type is not Names:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="A,B",
        instance_from_str=lambda args: Names(part.strip() for part in args[0].split(",") if part.strip()),
        is_instance=lambda value: isinstance(value, Names),
        str_from_instance=lambda value: [",".join(value)],
    )


def run_job(config_type: type[Config], job: Callable[[Config], str], argv: Sequence[str] | None = None) -> None:
    """Parse, run, and exit: 0 when `job` returns the output's place, else with one message and a non-zero status.

    `job` tells its result (`tell_result`); the last line of a success is `done: OUTPUT`, unless there is none.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    log = Log(job_of(config_type), as_json=_asks_for_json(arguments))
    try:
        config = pin_versions(_parse_or_tell(config_type, arguments, log))
        log = Log(log.job, _last_name(config), getattr(config, "log_format", "text") == "json")
        with logging_as(log), stop_on_signals():
            place = job(config)
    except StRayError as error:
        status = EXIT_USAGE if isinstance(error, ConfigError) else EXIT_FAILED
        _report(log, error, error.details, debug, status)
        sys.exit(status)
    except KeyboardInterrupt:
        message = "stopped: what is committed is kept; run the same command again to go on"
        log.tell("stopped", f"\n{message}", level="error", message=message, status=EXIT_INTERRUPTED)
        # Ray's threads may still wait for workers; nothing of ours is left to do.
        os._exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        os._exit(EXIT_FAILED)  # whoever read our output has gone; there is nobody to tell
    except Exception as error:
        unknown = StRayError(f"{type(error).__name__}: {error}", "run again with --debug to see where it happened")
        _report(log, unknown, "", debug, EXIT_FAILED)
        sys.exit(EXIT_FAILED)
    if place:
        log.tell("done", f"done: {place}", summary=True, output=place, status=0)
    if _module_name().startswith("jobs."):
        _leave()


def _leave() -> None:
    """End this process well. Python would first take all modules apart, which takes it half a second."""
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        os._exit(EXIT_FAILED)
    os._exit(0)


def tell_result(result: JobResult, summary: str) -> str:
    """Print the summary of a finished job, as JSON its figures (`metrics` are those of evaluations); its place."""
    manifest, about = result.manifest, result.manifest.about
    tell_summary(
        "summary",
        summary,
        output=result.folder,
        kind=manifest.kind,
        already_complete=result.already_complete,
        totals=manifest.totals,
        dropped=manifest.dropped,
        metrics=about.get("metrics") or about.get("figures"),
        run=manifest.run,
    )
    return result.folder


def tell_summary(event: str, summary: str, **figures: Any) -> None:
    """Print a summary, as JSON its title and the figures."""
    current_log().tell(event, summary, summary=True, message=summary.partition("\n")[0], **figures)


def _last_name(config: Any) -> str:
    """Of the folder that the job makes; some commands make none."""
    return posixpath.basename(getattr(config, "output", "").rstrip("/"))


def _asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether the flag is there, for errors that come before all flags are read."""
    words = (word for argument in arguments for word in argument.replace("_", "-").split("=", 1))
    return ("--log-format", "json") in itertools.pairwise(words)


def _parse_or_tell(config_type: type[Config], arguments: Sequence[str], log: Log) -> Config:
    """`parse`; as JSON, what tyro says of a wrong flag is one object."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said) if log.as_json else contextlib.nullcontext():
            return parse(config_type, arguments)
    except SystemExit as ended:
        if log.as_json and ended.code:
            bare = re.sub(r"[\u2500-\u257f]", " ", said.getvalue())  # the lines of its box
            log.tell("error", " ".join(bare.split()), level="error", error="ConfigError", status=ended.code)
        raise


def parse(config_type: type[Config], arguments: Sequence[str]) -> Config:
    """The config that the arguments describe; `--config FILE` is read first, so that flags win."""
    arguments, path = _take_config(list(arguments))
    from_file = arguments_of_yaml(config_type, path) if path else []
    with _registry:
        return tyro.cli(
            _with_help(config_type),
            args=[*from_file, *arguments],
            prog=f"python -m {_module_name()}",
            description=_description(config_type),
        )


def pin_versions(config: Config) -> Config:
    """The config with folders such as ROOT/latest/embeddings replaced by those of the version that is the latest now.

    That is looked up once for all flags, so that a job reads one version, and its output names it. Where a job writes
    is left as it is.
    """
    read = functools.cache(read_pointer)
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(config):  # type: ignore[arg-type]
        value = getattr(config, field.name)
        if field.name == "output":
            continue
        if isinstance(value, str):
            changes[field.name] = at_version(value, read)
        elif type(value) is tuple:
            changes[field.name] = tuple(at_version(each, read) if isinstance(each, str) else each for each in value)
    return dataclasses.replace(config, **changes)  # type: ignore[type-var]


def arguments_of_yaml(config_type: type, path: str) -> list[str]:
    """The keys of a YAML file as flags, so that they are checked and described like flags.

    Raises:
        ConfigError: the file is missing, is not a mapping, or has a key that is no flag of this job.
    """
    try:
        document = yaml.safe_load(fs.read_bytes(path).decode()) or {}
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"--config {path}: {error}", "name a readable YAML file") from error
    if not isinstance(document, dict):
        raise ConfigError(f"--config {path} is not a mapping of flags to values", "write lines such as `model: FOLDER`")
    known = {field.name for field in dataclasses.fields(config_type)}
    arguments: list[str] = []
    for key, value in document.items():
        name = str(key).replace("-", "_")
        if name not in known:
            raise ConfigError(f"--config {path}: no flag is called {key!r}", f"use one of {', '.join(sorted(known))}")
        arguments += _flag(name.replace("_", "-"), value, config_type)
    return arguments


def _flag(name: str, value: Any, config_type: type) -> list[str]:
    if value is None:
        return []
    if isinstance(value, bool):
        return [f"--{name}" if value else f"--no-{name}"]
    if isinstance(value, list):
        hints = {field.name: field.type for field in dataclasses.fields(config_type)}
        hint, values = str(hints[name.replace("-", "_")]), [*map(str, value)]
        if "Names" in hint:
            return [f"--{name}", ",".join(values)]
        return values if "Positional" in hint else [f"--{name}", *values]
    return [f"--{name}", str(value)]


def _take_config(arguments: list[str]) -> tuple[list[str], str | None]:
    for position, argument in enumerate(arguments):
        if argument == "--config":
            if position + 1 == len(arguments):
                raise ConfigError("--config names no file", "write --config job.yaml")
            return arguments[:position] + arguments[position + 2 :], arguments[position + 1]
        if argument.startswith("--config="):
            return arguments[:position] + arguments[position + 1 :], argument.partition("=")[2]
    return arguments, None


def documented(config_type: type[Any]) -> list[tuple[dataclasses.Field[Any], Any, str]]:
    """The fields with their types and their docstrings, unwrapped (tyro keeps the breaks of indented lines).

    A job's own stand first, those that all jobs share last.
    """
    hints = typing.get_type_hints(config_type, include_extras=True)
    docs = _field_docs(config_type)
    fields = {field.name: field for field in dataclasses.fields(config_type)}
    order = dict.fromkeys(name for base in config_type.__mro__ for name in vars(base).get("__annotations__", ()))
    return [(fields[name], hints[name], docs[name]) for name in order]


def _with_help(config_type: type[Any]) -> type[Any]:
    """A subclass whose fields carry their docstrings as help."""
    fields: list[tuple[str, Any, Any]] = []
    for field, hint, text in documented(config_type):
        annotation: Any = typing.Annotated[hint, tyro.conf.arg(help=text)]
        fields.append((field.name, annotation, dataclasses.field(default=field.default)))
    made = dataclasses.make_dataclass(config_type.__name__, fields, bases=(config_type,), frozen=True, kw_only=True)
    # Those that a base has stand where the base has them, unless they are put in order.
    made.__dataclass_fields__ = {name: made.__dataclass_fields__[name] for name, *_ in fields}  # type: ignore[attr-defined]
    return made


def _field_docs(config_type: type) -> dict[str, str]:
    docs: dict[str, str] = {}
    for base in reversed(config_type.__mro__[:-1]):
        body = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0].body  # type: ignore[attr-defined]
        for field, doc in itertools.pairwise(body):
            if isinstance(field, ast.AnnAssign) and isinstance(doc, ast.Expr) and isinstance(doc.value, ast.Constant):
                docs[field.target.id] = " ".join(str(doc.value.value).split())  # type: ignore[union-attr]
    return docs


def _module_name() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec is not None else "jobs"


def _description(config_type: type) -> str:
    text = f"{config_type.__doc__} --config FILE reads the same flags from a YAML file; flags given here win."
    return f"{text} docs/jobs/{_module_name().removeprefix('jobs.')}.md shows examples and what comes of them."


def _report(log: Log, error: StRayError, details: str, debug: bool, status: int) -> None:
    trace = masked(details or traceback.format_exc()) if debug else ""
    if trace and not log.as_json:
        print(trace, file=sys.stderr)
    more: dict[str, Any] = {"traceback": trace} if trace else {}
    log.tell(
        "error",
        f"error: {error}",
        level="error",
        message=error.message,
        remedy=error.remedy,
        error=type(error).__name__,
        status=status,
        **more,
    )

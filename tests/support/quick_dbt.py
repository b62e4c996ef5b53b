"""Makes dbt in this process cheap: the same SQL of the same nodes, without dbt's own bookkeeping.

Most of a small build is dbt about itself: events that nobody reads, the namespace of all macros
made anew for each node, templates compiled again. The tests build the project many times, so
`install()` takes those out. What is selected, rendered, run and checked stays dbt's; Dagster's
tests and the end-to-end ones that refresh start dbt unchanged.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jinja2
from dbt.adapters.base.impl import BaseAdapter
from dbt.adapters.duckdb.impl import DuckDBAdapter
from dbt.clients.jinja import MacroGenerator
from dbt.context import base as dbt_context
from dbt.context import exceptions_jinja as dbt_exceptions
from dbt.context import macros as dbt_macros
from dbt.context import providers as dbt_providers
from dbt_common.clients import agate_helper
from dbt_common.events.base_types import BaseEvent, EventLevel
from dbt_common.events.event_manager import EventManager

FLAGS = ("--log-level", "none", "--log-level-file", "none", "--no-write-json")
"""Nobody reads the log: failures come with the result."""

_QUIET_LEVELS = {EventLevel.DEBUG, EventLevel.INFO, EventLevel.TEST}
_make_event = BaseEvent.__init__
_fire_event = EventManager.fire_event
_make_match = BaseAdapter._make_match
_compile = jinja2.Environment.compile
_compiled: dict[tuple[Any, ...], Any] = {}


def install() -> None:
    """Replace these parts of dbt for the life of this process; a second call changes nothing."""
    BaseEvent.__init__ = _late_event  # type: ignore[method-assign]
    BaseEvent.__getattr__ = _made_event_attribute  # type: ignore[method-assign]
    EventManager.fire_event = _fire_if_heard  # type: ignore[method-assign]
    dbt_macros.MacroNamespaceBuilder.build_namespace = _namespace  # type: ignore[method-assign, assignment]
    jinja2.Environment.compile = _compiled_once  # type: ignore[method-assign, assignment]
    BaseAdapter._make_match = _match_by_name  # type: ignore[method-assign]
    DuckDBAdapter.drop_relation = _drop  # type: ignore[method-assign]
    DuckDBAdapter.rename_relation = _rename  # type: ignore[method-assign]
    dbt_providers.wrapped_exports = _Exports
    if not hasattr(agate_helper.build_type_tester, "cache_info"):
        agate_helper.build_type_tester = _tester_of(agate_helper.build_type_tester)
        agate_helper.empty_table = functools.cache(agate_helper.empty_table)
        # Deprecation wrappers around `itertools`, the same for every context.
        dbt_context.get_itertools_module_context = functools.cache(
            dbt_context.get_itertools_module_context
        )


def _late_event(self: Any, *args: Any, **kwargs: Any) -> None:
    """An event's Protobuf message is made when somebody asks for it, which is almost never."""
    self.__dict__["_parts"] = (args, kwargs)


def _made_event_attribute(self: Any, key: str) -> Any:
    """Reached for what is not in `__dict__`: the message itself and its fields."""
    if "pb_msg" not in self.__dict__:
        args, kwargs = self.__dict__.pop("_parts")
        _make_event(self, *args, **kwargs)
    return self.__dict__["pb_msg"] if key == "pb_msg" else getattr(self.__dict__["pb_msg"], key)


def _fire_if_heard(
    self: EventManager, e: BaseEvent, level: EventLevel | None = None, *args: Any, **kwargs: Any
) -> None:
    """Warnings and errors as ever (they may raise); the rest only where a logger listens."""
    if self.loggers or (level or e.level_tag()) not in _QUIET_LEVELS:
        _fire_event(self, e, level, *args, **kwargs)


def _compiled_once(
    self: jinja2.Environment, source: Any, name: Any = None, filename: Any = None, *args: Any
) -> Any:
    """The code of a template depends on its text and on the kind of environment alone."""
    key = (type(self), source, name, filename, args)
    if not isinstance(source, str):
        return _compile(self, source, name, filename, *args)
    if key not in _compiled:
        _compiled[key] = _compile(self, source, name, filename, *args)
    return _compiled[key]


def _match_by_name(
    self: BaseAdapter, relations_list: list[Any], database: str, schema: str, identifier: str
) -> list[Any]:
    """dbt asks every relation of the schema in full; one of another name fits in no way."""
    name = identifier.lower().strip('"')
    near = [r for r in relations_list if str(r.identifier).lower().strip('"') == name]
    return _make_match(self, near, database, schema, identifier)


def _drop(self: DuckDBAdapter, relation: Any) -> None:
    """What the macro `duckdb__drop_relation` says, without a context of five hundred macros."""
    self.cache_dropped(relation)
    self.execute(f"drop {relation.type} if exists {relation} cascade", auto_begin=False)


def _rename(self: DuckDBAdapter, from_relation: Any, to_relation: Any) -> None:
    """As `duckdb__rename_relation`."""
    self.cache_renamed(from_relation, to_relation)
    name = self.quote_as_configured(to_relation.identifier, "identifier")
    self.execute(f"alter {to_relation.type} {from_relation} rename to {name}", auto_begin=True)


class _Exports(dict[str, Any]):
    """`exceptions` of a context: each function wrapped when a template asks for it."""

    def __init__(self, model: Any) -> None:
        self._wrap = dbt_exceptions.wrapper(model)

    def __missing__(self, name: str) -> Any:
        self[name] = self._wrap(dbt_exceptions.CONTEXT_EXPORTS[name])
        return self[name]


class _Namespace(dict[str, Any]):
    """`MacroNamespace` already flattened, so that a context takes it over at once."""

    def __init__(self, layers: dbt_macros.MacroNamespace) -> None:
        for layer in reversed(list(layers._search_order())):
            self.update(layer)
        self.layers = layers

    def get_from_package(self, package_name: str | None, name: str) -> MacroGenerator | None:
        """As in `MacroNamespace`."""
        return self.layers.get_from_package(package_name, name)


def _namespace(
    self: dbt_macros.MacroNamespaceBuilder, by_package: dict[str, dict[str, Any]], ctx: Any
) -> _Namespace:
    """dbt's own precedence; only the making of some five hundred generators is shorter."""
    generator, node, stack = MacroGenerator, self.node, self.thread_ctx
    for package, members in by_package.items():
        made = {}
        for macro in members.values():
            made[macro.name] = one = generator.__new__(generator)
            one.__dict__ = {"context": ctx, "macro": macro, "node": node, "stack": stack}
        if package in self.internal_package_names:
            self.internal_packages[package] = made
            continue
        self.packages[package] = made
        if package == self.search_package:
            self.locals.update(made)
        elif package == self.root_package:
            self.globals.update(made)
    shared: dict[str, Any] = {}
    for package in reversed(self.internal_package_names_order):
        shared.update(self.internal_packages.get(package, {}))
    return _Namespace(
        dbt_macros.MacroNamespace(
            global_namespace=self.globals,
            local_namespace=self.locals,
            global_project_namespace=shared,
            packages=self.packages,
        )
    )


def _tester_of(build: Callable[..., Any]) -> Callable[..., Any]:
    """Type testers keep no state between tables, and each makes a date parser that costs ms."""

    @functools.cache
    def remembered(columns: frozenset[str], nulls: tuple[str, ...] | None) -> Any:
        return build(columns, nulls)

    @functools.wraps(build)
    def tester(text_columns: Any, string_null_values: Any = ("null", "")) -> Any:
        nulls = None if string_null_values is None else tuple(string_null_values)
        return remembered(frozenset(text_columns), nulls)

    tester.cache_info = remembered.cache_info  # type: ignore[attr-defined]
    return tester

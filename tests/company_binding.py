"""Whether a SQL statement keeps to one company: each table of company data in it is bound to one and the same $n.

Bound is a table when the very query that reads it says `company_id = $n` of it, in WHERE, or in the ON that lets its
rows in; an INSERT, when $n is what goes into company_id. That a join would come to the same does not count: the
database may not see it, and neither may the next reader.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass, field
from typing import Any

import pglast
from pglast import ast as typed_ast
from pglast.enums import A_Expr_Kind, BoolExprType, JoinType

COLUMN = "company_id"

# Its stubs say of every member of every node that it may be missing.
ast: Any = typed_ast


@dataclass
class _Findings:
    """`parameters` are the $n that tables are bound to; `seen` the places of tables that have been looked at."""

    problems: list[str] = field(default_factory=list)
    parameters: set[int] = field(default_factory=set)
    seen: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class _Use:
    """A table in a query. `conditions` are those that every row of it has passed."""

    table: Any
    conditions: tuple[Any, ...] = ()

    @property
    def name(self) -> str:
        return str(self.table.alias.aliasname if self.table.alias else self.table.relname)


def problems(sql: str, tables: Set[str]) -> list[str]:
    """What is wrong with a statement; nothing when it keeps to one company, or uses none of the tables."""
    found = _Findings()
    for raw in pglast.parse_sql(sql):
        nodes = list(_walk(raw.stmt))
        names = {node.ctename for node in nodes if isinstance(node, ast.CommonTableExpr)}
        found.problems += [f"WITH {name} hides a table of that name" for name in sorted(names & tables)]
        for node in nodes:
            _check(node, tables, found)
        found.problems += [
            f"{node.relname} is used in a way that is not understood here"
            for node in nodes
            if isinstance(node, ast.RangeVar) and node.relname in tables and node.location not in found.seen
        ]
    if len(found.parameters) > 1:
        found.problems.append(f"bound to several parameters: {sorted(found.parameters)}")
    return found.problems


def parameters(sql: str, tables: Set[str]) -> set[int]:
    """The numbers of the parameters that the tables in a statement are bound to."""
    found = _Findings()
    for raw in pglast.parse_sql(sql):
        for node in _walk(raw.stmt):
            _check(node, tables, found)
    return found.parameters


def _check(node: Any, tables: Set[str], found: _Findings) -> None:
    match node:
        case ast.SelectStmt():
            uses = list(_uses(node.fromClause))
        case ast.UpdateStmt():
            uses = [_Use(node.relation), *_uses(node.fromClause)]
            if any(target.name == COLUMN for target in node.targetList):
                found.problems.append(f"UPDATE {node.relation.relname} moves rows to another company")
        case ast.DeleteStmt():
            uses = [_Use(node.relation), *_uses(node.usingClause)]
        case ast.InsertStmt():
            _check_insert(node, tables, found)
            return
        case _:
            return
    uses = [use for use in uses if use.table.relname in tables]
    for use in uses:
        found.seen.add(use.table.location)
        bound = set(_bound(use, _conjuncts(node.whereClause), alone=len(uses) == 1))
        if not bound:
            found.problems.append(f"{use.table.relname} {use.name} is not bound to a company")
        found.parameters |= bound


def _check_insert(node: Any, tables: Set[str], found: _Findings) -> None:
    table = node.relation.relname
    if table not in tables:
        return
    found.seen.add(node.relation.location)
    columns = [target.name for target in node.cols or ()]
    if COLUMN not in columns or node.selectStmt is None:
        found.problems.append(f"INSERT INTO {table} does not name {COLUMN}")
        return
    position = columns.index(COLUMN)
    select = node.selectStmt
    rows = select.valuesLists or [[target.val for target in select.targetList or ()]]
    for row in rows:
        number = _parameter(row[position]) if position < len(row) else None
        if number is None:
            found.problems.append(f"INSERT INTO {table} takes {COLUMN} from elsewhere than a parameter")
        else:
            found.parameters.add(number)
    conflict = node.onConflictClause
    if conflict is not None and conflict.targetList:
        arbiter = [element.name for element in (conflict.infer and conflict.infer.indexElems) or ()]
        if COLUMN not in arbiter or any(target.name == COLUMN for target in conflict.targetList):
            found.problems.append(f"INSERT INTO {table} may update another company's row")


def _uses(clause: Any, conditions: tuple[Any, ...] = ()) -> Iterator[_Use]:
    """The tables of a FROM, each with the ON conditions that all of its rows have passed: those of an outer join
    hold for the side only that it may leave out."""
    for item in clause or ():
        if isinstance(item, ast.RangeVar):
            yield _Use(item, conditions)
        elif isinstance(item, ast.JoinExpr):
            on = conditions + tuple(_conjuncts(item.quals))
            inner = item.jointype == JoinType.JOIN_INNER
            yield from _uses([item.larg], on if inner or item.jointype == JoinType.JOIN_RIGHT else conditions)
            yield from _uses([item.rarg], on if inner or item.jointype == JoinType.JOIN_LEFT else conditions)


def _conjuncts(condition: Any) -> Iterator[Any]:
    if isinstance(condition, ast.BoolExpr) and condition.boolop == BoolExprType.AND_EXPR:
        for argument in condition.args:
            yield from _conjuncts(argument)
    elif condition is not None:
        yield condition


def _bound(use: _Use, where: Iterator[Any], *, alone: bool) -> Iterator[int]:
    for condition in (*where, *use.conditions):
        if not isinstance(condition, ast.A_Expr) or condition.kind != A_Expr_Kind.AEXPR_OP:
            continue
        if [part.sval for part in condition.name] != ["="]:
            continue
        for column, value in ((condition.lexpr, condition.rexpr), (condition.rexpr, condition.lexpr)):
            number = _parameter(value)
            if number is not None and _is_company_of(column, use, alone):
                yield number


def _is_company_of(node: Any, use: _Use, alone: bool) -> bool:
    if not isinstance(node, ast.ColumnRef):
        return False
    names = [getattr(part, "sval", None) for part in node.fields or ()]
    # Unqualified it is that of the only table: with two of them PostgreSQL itself would not know.
    return names == [use.name, COLUMN] or (alone and names == [COLUMN])


def _parameter(node: Any) -> int | None:
    while isinstance(node, ast.TypeCast):
        node = node.arg
    return int(node.number) if isinstance(node, ast.ParamRef) and node.number else None


def _walk(node: Any) -> Iterator[Any]:
    if isinstance(node, tuple | list):
        for item in node:
            yield from _walk(item)
    elif isinstance(node, ast.Node):
        yield node
        for name in node:
            yield from _walk(getattr(node, name))

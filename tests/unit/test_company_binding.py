"""The checker of statements finds what is wrong with them, and nothing else."""

import pytest

from tests.company_binding import parameters, problems

TABLES = {"events", "event_keys", "companies"}

GOOD = [
    "SELECT e.type FROM hookline.events e WHERE e.company_id = $1 AND e.sequence > $2",
    "SELECT type FROM hookline.events WHERE $1::text = company_id",
    "SELECT 1 FROM hookline.events e JOIN hookline.event_keys k ON k.company_id = $1::text AND k.event_id = e.event_id"
    " WHERE e.company_id = $1",
    "SELECT 1 FROM unnest($2::uuid[]) AS i (id) LEFT JOIN hookline.events e ON e.company_id = $1 AND e.event_id = i.id",
    "SELECT (SELECT count(*) FROM hookline.events WHERE company_id = $1)",
    "WITH gone AS (DELETE FROM hookline.events WHERE company_id = $1 RETURNING type) SELECT type FROM gone",
    "DELETE FROM hookline.events e USING hookline.event_keys k WHERE e.company_id = $1 AND k.company_id = $1",
    "UPDATE hookline.companies SET last_sequence = 0 WHERE company_id = $1 AND EXISTS (SELECT FROM unnest($2::int[]))",
    "INSERT INTO hookline.events (company_id, type) VALUES ($1, $2), ($1, $3)",
    "INSERT INTO hookline.events (type, company_id) SELECT t, $1::text FROM unnest($2::text[]) AS i (t)",
    "INSERT INTO hookline.companies (company_id) VALUES ($1) ON CONFLICT (company_id) DO UPDATE SET last_change = 0",
    "SELECT 1 FROM hookline.events WHERE company_id = $1 UNION ALL SELECT 1 FROM hookline.events WHERE company_id = $1",
    "SELECT name FROM hookline.create_event_partitions($1) AS name",
    "SELECT version FROM hookline.schema_migrations",
]
BAD = {
    "no predicate": "SELECT type FROM hookline.events",
    "another predicate only": "SELECT type FROM hookline.events WHERE event_id = $1",
    "a predicate that is one of several": "SELECT type FROM hookline.events WHERE company_id = $1 OR type = $2",
    "an OR inside of an AND": "SELECT 1 FROM hookline.events WHERE (company_id = $1 OR $2) AND type = $3",
    "a negated predicate": "SELECT type FROM hookline.events WHERE NOT company_id = $1",
    "another operator": "SELECT type FROM hookline.events WHERE company_id >= $1",
    "any of several companies": "SELECT type FROM hookline.events WHERE company_id = ANY ($1)",
    "a literal": "SELECT type FROM hookline.events WHERE company_id = 'acme'",
    "two parameters": "SELECT 1 FROM hookline.events e, hookline.event_keys k"
    " WHERE e.company_id = $1 AND k.company_id = $2",
    "a join to a bound table": "SELECT 1 FROM hookline.events e JOIN hookline.event_keys k USING (company_id)"
    " WHERE e.company_id = $1",
    "a join on the company": "SELECT 1 FROM hookline.events e JOIN hookline.event_keys k"
    " ON k.company_id = e.company_id WHERE e.company_id = $1",
    "two tables joined unbound": "SELECT 1 FROM hookline.events e JOIN hookline.event_keys k USING (company_id)",
    "an outer join's ON for the side that stays": "SELECT 1 FROM hookline.events e"
    " LEFT JOIN unnest($2::int[]) AS i (n) ON e.company_id = $1",
    "a full join": "SELECT 1 FROM hookline.events e FULL JOIN unnest($2::int[]) AS i (n) ON e.company_id = $1",
    "a subquery": "SELECT (SELECT count(*) FROM hookline.event_keys) FROM hookline.events WHERE company_id = $1",
    "bound outside only": "SELECT 1 FROM (SELECT company_id FROM hookline.events) e WHERE e.company_id = $1",
    "a subquery bound by its outer query": "SELECT 1 FROM hookline.events e WHERE e.company_id = $1"
    " AND EXISTS (SELECT 1 FROM hookline.event_keys k WHERE e.company_id = $1)",
    "a WITH": "WITH k AS (SELECT 1 FROM hookline.event_keys) SELECT 1 FROM hookline.events WHERE company_id = $1",
    "a WITH that hides a table": "WITH events AS (SELECT 1) SELECT 1 FROM events",
    "half of a UNION": "SELECT 1 FROM hookline.events WHERE company_id = $1 UNION ALL SELECT 1 FROM hookline.events",
    "without the schema": "SELECT type FROM events",
    "UPDATE": "UPDATE hookline.companies SET last_change = 0",
    "UPDATE of the company": "UPDATE hookline.companies SET company_id = $2 WHERE company_id = $1",
    "UPDATE FROM": "UPDATE hookline.companies c SET last_change = 0 FROM hookline.events e WHERE c.company_id = $1",
    "DELETE": "DELETE FROM hookline.events WHERE sequence = $1",
    "DELETE USING": "DELETE FROM hookline.events e USING hookline.event_keys k WHERE k.company_id = $1",
    "INSERT without the company": "INSERT INTO hookline.events (type) VALUES ($1)",
    "INSERT without columns": "INSERT INTO hookline.events VALUES ($1)",
    "INSERT of a literal": "INSERT INTO hookline.events (company_id) VALUES ($1), ('acme')",
    "INSERT from another table": "INSERT INTO hookline.events (company_id) SELECT i.c FROM unnest($1::text[]) AS i (c)",
    "INSERT from an unbound table": "INSERT INTO hookline.events (company_id) SELECT $1 FROM hookline.event_keys",
    "INSERT that may update anyone's row": "INSERT INTO hookline.companies (company_id) VALUES ($1)"
    " ON CONFLICT ON CONSTRAINT companies_pkey DO UPDATE SET last_change = 0",
    "INSERT that moves a row": "INSERT INTO hookline.companies (company_id) VALUES ($1)"
    " ON CONFLICT (company_id) DO UPDATE SET company_id = $2",
    "TRUNCATE": "TRUNCATE hookline.events",
    "MERGE": "MERGE INTO hookline.companies c USING hookline.events e ON c.company_id = $1"
    " WHEN MATCHED THEN DO NOTHING",
}


@pytest.mark.parametrize("sql", GOOD)
def test_a_statement_that_keeps_to_one_company_passes(sql: str) -> None:
    assert problems(sql, TABLES) == []


@pytest.mark.parametrize("case", BAD)
def test_a_statement_that_does_not_is_found(case: str) -> None:
    assert problems(BAD[case], TABLES)


def test_the_parameter_is_told() -> None:
    assert parameters("SELECT 1 FROM hookline.events e WHERE e.type = $1 AND e.company_id = $2", TABLES) == {2}
    assert parameters("SELECT version FROM hookline.schema_migrations", TABLES) == set()

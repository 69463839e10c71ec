"""The SQL of the sync service, in the folder `sql`."""

from shared.statements import Statements

sql = Statements("services.sync")

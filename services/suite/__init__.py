"""The whole suite on one machine: PostgreSQL brought along, the services as processes, and who watches over them."""

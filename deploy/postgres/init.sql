-- Run by the image's entrypoint, once, when the data is made: a role for the services that is no superuser, and its
-- database. The superuser keeps no password: it is reached from inside the container only.
\getenv password POSTGRES_PASSWORD
CREATE ROLE hookline LOGIN PASSWORD :'password';
CREATE DATABASE hookline OWNER hookline;
REVOKE ALL ON DATABASE hookline FROM PUBLIC;
ALTER ROLE CURRENT_USER PASSWORD NULL;

#!/bin/sh
# Makes what deploy/compose.yaml asks for as secrets, where it is not there yet. The folder is its owner's alone; the
# files in it can be read by the containers' own users, which are others.
set -eu
cd "$(dirname "$0")"
umask 022
mkdir -p secrets backups
chmod 700 secrets
[ -s secrets/postgres_password ] || openssl rand -hex 24 >secrets/postgres_password
[ -s secrets/grafana_password ] || openssl rand -hex 12 >secrets/grafana_password
[ -s secrets/aml_db ] ||
  printf 'postgresql+psycopg://aml:%s@postgres/aml\n' "$(cat secrets/postgres_password)" >secrets/aml_db
echo "secrets are in $(pwd)/secrets: Grafana's password for admin is in grafana_password"

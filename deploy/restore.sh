#!/bin/sh
# Puts a backup back: `restore.sh FOLDER/aml-TIME`. The service is stopped, the database empty, AML_STATE empty.
set -eu
: "${AML_STATE:?is the folder for state}"
url=${AML_DB:-$(cat "${AML_DB_FILE:?or AML_DB is the database}")}
url=$(printf %s "$url" | sed 's/^postgresql+psycopg:/postgresql:/')
(cd "$1" && sha256sum --quiet --check SHA256SUMS)
[ -z "$(find "$AML_STATE" -name '*.aml' -print -quit)" ] || { echo "error: $AML_STATE is not empty: move it away" >&2; exit 1; }
pg_restore --exit-on-error --no-owner --single-transaction --dbname "$url" "$1/database"
cp -R "$1/state/." "$AML_STATE/"
chown -R --reference="$AML_STATE" "$AML_STATE"
chmod -R u=rwX,go=rX "$AML_STATE"
echo "restored $1: start the service, then aml reconcile"

#!/bin/sh
# Backs up database and state while the service runs: `backup.sh FOLDER` makes FOLDER/aml-TIME, or nothing.
# The order matters. Snapshots first: one that is ahead of its database is refused. Then the database. Then the archive,
# to which files are only added: all that the database names is there. What Kafka holds is not backed up (see RUNBOOK).
set -eu
umask 077 # customers' data
: "${AML_STATE:?is the folder for state}"
url=${AML_DB:-$(cat "${AML_DB_FILE:?or AML_DB is the database}")}
url=$(printf %s "$url" | sed 's/^postgresql+psycopg:/postgresql:/') # as pg_dump wants it
made="$1/aml-$(date -u +%Y%m%dT%H%M%SZ)"
draft="$made.part"
trap 'rm -rf "$draft"' EXIT
mkdir -p "$draft/state"
# A file that is replaced meanwhile is left out: it is no longer the newest.
copy() {
  (cd "$AML_STATE" && find . "$@") | while read -r file; do
    mkdir -p "$draft/state/$(dirname "$file")"
    cp -p "$AML_STATE/$file" "$draft/state/$file" || [ ! -e "$AML_STATE/$file" ]
  done
}
copy -name 'snapshot-*.aml'
pg_dump --format=custom --no-owner --file "$draft/database" "$url"
copy -type f ! -name 'snapshot-*.aml' ! -name '*.part' ! -name 'draft-*' ! -path './members/*'
(cd "$draft" && find . -type f ! -name SHA256SUMS -exec sha256sum {} + >SHA256SUMS)
mv "$draft" "$made"
echo "$made"

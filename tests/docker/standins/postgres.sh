#!/bin/sh
# As much of the official image's start as the compose file uses: a database, a superuser, a password from a file.
set -eu
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username="$POSTGRES_USER" --pwfile="$POSTGRES_PASSWORD_FILE" --auth=scram-sha-256 --encoding=UTF8 >/dev/null
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    pg_ctl --wait --options="-c listen_addresses= -c unix_socket_directories=/tmp" start >/dev/null
    PGPASSWORD="$(cat "$POSTGRES_PASSWORD_FILE")" createdb --host=/tmp --username="$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl --wait --mode=fast stop >/dev/null
fi
exec postgres -c 'listen_addresses=*' -c unix_socket_directories=/tmp

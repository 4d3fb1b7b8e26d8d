#!/usr/bin/env bash
# Build a PgBouncer that supports prepared statements (1.21 or later), as the program $1, from the source of a later Debian.
set -euo pipefail
program=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# The mirror is the one that this system uses already; its own sources stay as they are.
mkdir lists sources
awk '/^$/ { exit } 1' /etc/apt/sources.list.d/debian.sources |
    sed 's/^Types:.*/Types: deb-src/; s/^Suites:.*/Suites: trixie/' >sources/later.sources
options=(-o "Dir::Etc::sourceparts=$work/sources" -o Dir::Etc::sourcelist=/dev/null -o "Dir::State::Lists=$work/lists")
options+=(-o APT::Sandbox::User=root -qq)
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq build-essential libevent-dev libssl-dev pkg-config >/dev/null
apt-get "${options[@]}" update
apt-get "${options[@]}" source --download-only pgbouncer
tar -xzf pgbouncer_*.orig.tar.gz --strip-components=1
{
    ./configure --without-cares --without-pam --without-systemd
    make -j"$(nproc)" pgbouncer
} >build.log 2>&1 || { cat build.log; exit 1; }
install -D pgbouncer "$program"

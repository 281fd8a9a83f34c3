#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the Debian root filesystem of the suite once and prints where it is. It lies outside of the
# tree, so neither `make clean` nor a new checkout costs the download again.
set -eu

suite=bookworm
architecture=$(dpkg --print-architecture)
cache=${XDG_CACHE_HOME:-/var/cache}/teca-tests
root=$cache/debian-$suite-$architecture

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
if [ ! -e "$root/etc/os-release" ]; then
    made=$(mktemp -d "$cache/making.XXXXXX")
    trap 'rm -rf "$made"' EXIT
    # No services may start and nothing may ask: minbase has apt and the essential packages only.
    mmdebstrap --quiet --variant=minbase --mode=root "$suite" "$made" >&2
    chmod 0755 "$made"
    mv "$made" "$root"
    trap - EXIT
fi
echo "$root"

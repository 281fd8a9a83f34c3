#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Stands in for an OCI runtime under podman: takes the bundle that podman made away, with the files
# that it is about to bind, then fails, so that podman undoes its own part. conmon passes no
# environment, so where to put things is told by where this script lies.
set -eu

taken=$(dirname "$0")/taken
bundle= pidfile= previous=
for word in "$@"; do
    case $previous in
    --bundle) bundle=$word ;;
    --pid-file) pidfile=$word ;;
    esac
    previous=$word
done
[ -n "$bundle" ] || exit 0 # delete: there is nothing
mkdir "$taken"
cp -a "$bundle" "$taken/bundle"
cp -a "$(dirname "$pidfile")" "$taken/run"
dirname "$pidfile" >"$taken/run-was"
echo "$bundle" >"$taken/bundle-was"
echo "the bundle was taken" >&2
exit 1

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Makes the bundle, runs it once, removes it. TECA is the program, by default the tree's own build.
set -eu
here=$(dirname "$(readlink -f "$0")")
teca=${TECA:-$here/../../build/teca}
id=hello-$$

if [ "$(id -u)" -ne 0 ]; then
    echo "run.sh: run it as root: sudo $0" >&2
    exit 1
fi
bundle=$(mktemp -d)
trap 'rm -rf "$bundle"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"$here/make-bundle.sh" "$bundle"
"$teca" run --bundle "$bundle" "$id"

#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# make-bundle.sh DIR: an OCI bundle in DIR: config.json, and a root filesystem that is one static busybox.
set -eu
here=$(dirname "$(readlink -f "$0")")
bundle=$1
busybox=$(command -v busybox) || { echo "make-bundle: busybox is missing (busybox-static)" >&2; exit 1; }

for dir in bin etc dev proc sys tmp; do
    mkdir -p "$bundle/rootfs/$dir"
done
cp "$busybox" "$bundle/rootfs/bin/busybox"
"$busybox" --list | while read -r name; do
    [ "$name" = busybox ] || ln -sf busybox "$bundle/rootfs/bin/$name"
done
echo 'root:x:0:0:root:/:/bin/sh' >"$bundle/rootfs/etc/passwd"
echo 'root:x:0:' >"$bundle/rootfs/etc/group"
cp "$here/hello.sh" "$bundle/rootfs/hello.sh"
chmod 755 "$bundle/rootfs/hello.sh"
cp "$here/config.json" "$bundle/config.json"

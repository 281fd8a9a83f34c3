#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Runs inside: everything it prints is asked of the kernel, from in there.
status() { awk -v key="$1:" '$1 == key { print $2 }' /proc/self/status; }

echo "Hello from inside a container."
echo "  host name      $(hostname)"
echo "  process        $$, one of $(ls -d /proc/[0-9]* | wc -l) that can be seen"
echo "  user           $(id)"
echo "  root           $(ls / | tr '\n' ' ')"
echo "  root mount     $(awk '$2 == "/" { split($4, option, ","); print option[1]; exit }' /proc/mounts), $(touch /new 2>&1)"
echo "  mounts         $(wc -l </proc/mounts)"
echo "  cgroups        $(wc -l </proc/1/cgroup) hierarchies, $(cut -d : -f 3 /proc/1/cgroup | sort -u | tr '\n' ' ')"
echo "  network        $(ls /sys/class/net | tr '\n' ' ')"
echo "  capabilities   effective $(status CapEff), bounding $(status CapBnd)"
echo "  no new privs   $(status NoNewPrivs)"
echo "  seccomp mode   $(status Seccomp)"

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
cri_call.py SOCKET METHOD: one call of the Kubernetes CRI (runtime.v1.RuntimeService), message in on stdin, message out
on stdout. For Debian's own python3, which has python3-grpcio.
"""
import sys

import grpc

with grpc.insecure_channel("unix://" + sys.argv[1]) as channel:
    call = channel.unary_unary("/runtime.v1.RuntimeService/" + sys.argv[2])
    try:
        sys.stdout.buffer.write(call(sys.stdin.buffer.read(), wait_for_ready=True))
    except grpc.RpcError as e:
        sys.exit(f"{sys.argv[2]}: {e.code().name}: {e.details()}")

# SPDX-License-Identifier: Apache-2.0
"""
Engines whose configuration names teca-vm: their containers in machines of their own. Here KVM may run no kernels, so the
link beside the binary under test is called teca-emulated.
"""
import os

import harness
import kernel
from engine import Absent, wait_until


class Machines:
    """For an engine, before its own class."""
    machines = ("docker", "kubernetes", "podman")  # not in the test VM, where a machine would be emulated in an emulated one

    @classmethod
    def before_its_namespaces(cls):
        super().before_its_namespaces()
        if cls.name in cls.machines:
            kernel.get()  # by the host's network

    def prepare_machines(self):
        """The link, behind what a user has no need of: a cache of the tests' own, for podman gives a runtime no environment."""
        if self.name not in self.machines or self.runtime != "teca":
            return
        os.symlink(self.binary, self.place.path("teca-emulated"))
        cache = kernel.prepared_by(self.binary)["TECA_CACHE"]
        self.place.write("machines", f"#!/bin/sh\nTECA_CACHE={cache} exec {self.place.path('teca-emulated')} \"$@\"\n", 0o755)

    def with_machines(self, text):
        """A file of examples/, whose runtime for machines is this one."""
        return text.replace('"/usr/local/bin/teca-vm"', f'"{self.place.path("machines")}"')

    def need_machines(self):
        if self.runtime != "teca":
            raise Absent(f"{self.runtime} makes no machines")
        if self.name not in self.machines:
            raise Absent(f"see {self.name.partition('-')[0]}")

    @staticmethod
    def machines_left():
        """Processes of machines that this engine's session has below it."""
        return [pid for pid, state in harness.descendants_of(os.getpid())
                if state not in "ZX" and "org.teca.agent" in harness.name_of(pid)]

    def no_machines_left(self):
        """A machine dies with its monitor, and nobody waits until the kernel has done it: 512 MiB are to be given back."""
        wait_until(lambda: not self.machines_left(), "no machine is left")

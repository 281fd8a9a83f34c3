#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# scripts/install-deps.sh SET...      installs the Debian packages that are missing
#
#   build   what `make` needs                       demo    and `make demo`
#   test    and `make check`                        bench   and `make bench-start`
#   vm      and `tests/vm/run`, without the kernel, which it fetches itself
#
# A machine that has everything is not touched and needs no network. Nothing in /etc/apt changes
# and no foreign architecture is added to dpkg: the few files that come from elsewhere (libmnl of
# Debian 13, the arm64 libraries) are fetched through private apt directories that go away again.
set -euo pipefail
cd "$(dirname "$0")/.."

build='gcc libc6-dev musl-tools make pkg-config libseccomp-dev libcap-dev libyajl-dev libmnl-dev libsystemd-dev
       libzstd-dev liblzma-dev liblz4-dev zlib1g-dev libmd-dev'
demo='busybox-static'
test='python3 acpica-tools libcmocka-dev clang llvm libclang-rt-dev clang-format clang-tidy cppcheck mandoc
      gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
      mmdebstrap debian-archive-keyring ca-certificates podman crun jq strace procps iproute2 passt
      uidmap'
bench='crun python3 strace procps'
# systemd, D-Bus and logind are for inside: the VM boots from this machine's files. Here nothing of it
# is started. polkitd is not among them: root and the user manager do without.
vm='python3 qemu-system-x86 erofs-utils squashfs-tools e2fsprogs dmsetup kmod zstd criu iptables apparmor secilc systemd dbus dbus-user-session libpam-systemd'
engines='python3 busybox-static podman conmon crun buildah containerd docker.io docker-compose iptables netavark
         aardvark-dns slirp4netns catatonit uidmap python3-grpcio containernetworking-plugins'

# The arm64 libraries that the cross build links; headers and libraries, hence two packages each.
arm64_libraries='libseccomp-dev libseccomp2 libcap-dev libcap2 libyajl-dev libyajl2'
arm64_libraries+=' libcmocka-dev libcmocka0 libzstd-dev libzstd1 liblzma-dev liblzma5 liblz4-dev liblz4-1'
arm64_libraries+=' zlib1g-dev zlib1g libmd-dev libmd0'
libmnl_packages='libmnl-dev libmnl0'
sysroot=.sysroot/arm64
sysroot_packages="$arm64_libraries $libmnl_packages"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf 'install-deps: %s\n' "$*" >&2; }

is_installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing_packages() {
    local package
    for package in "$@"; do
        is_installed "$package" || echo "$package"
    done
}

has_static_libmnl() { compgen -G '/usr/lib/*/libmnl.a' >/dev/null; }
has_sysroot() { [ "$(cat "$sysroot/packages" 2>/dev/null)" = "$sysroot_packages" ]; }

# Without root: says what is missing and which command installs it.
need_root() {
    [ "$(id -u)" -eq 0 ] && return
    say "missing: $*"
    say "run as root: $PWD/scripts/install-deps.sh ${sets[*]}"
    exit 1
}

codename() { . /etc/os-release && echo "${VERSION_CODENAME:-bookworm}"; }

# Where this machine gets its Debian from.
mirror() {
    local uri
    uri=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
        awk -v name="$(codename)" '$1 == name && /\/debian\/?$/ { print $2; exit }')
    echo "${uri:-http://deb.debian.org/debian}"
}

# fetch ARCHITECTURE SUITE DIRECTORY PACKAGE...: .deb files, verified by apt, nothing installed.
fetch() {
    local arch=$1 suite=$2 dir=$3 apt=$work/apt-$1-$2
    shift 3
    mkdir -p "$apt"/{etc,state/lists/partial,cache/archives/partial} "$dir"
    : >"$apt/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) $suite main" \
        >"$apt/etc/sources.list"
    local options=(-q -o Acquire::Retries=3 -o APT::Architecture="$arch" -o APT::Architectures="$arch"
        -o APT::Sandbox::User=root -o Acquire::Languages=none
        -o Dir::Etc::SourceList="$apt/etc/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
        -o Dir::State="$apt/state" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt/cache")
    apt-get "${options[@]}" update >&2
    (cd "$dir" && apt-get "${options[@]}" download "$@") >&2
}

install_missing() {
    local missing
    missing=$(missing_packages "$@" | tr '\n' ' ')
    [ -n "$missing" ] || return 0
    need_root "$missing"
    say "installing: $missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q -o Acquire::Retries=3 update >&2
    # shellcheck disable=SC2086  # words are wanted
    apt-get -q -y -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 \
        --no-install-recommends install $missing >&2
}

# libmnl-dev of Debian 12 has no libmnl.a, that of Debian 13 (1.0.5) has; it needs nothing newer than
# glibc 2.14, so the two packages of Debian 13 take the place of those of Debian 12.
install_static_libmnl() {
    local dir=$work/libmnl
    has_static_libmnl && return
    need_root 'libmnl.a (libmnl-dev of Debian 13)'
    say 'installing: libmnl-dev and libmnl0 of Debian 13, for libmnl.a'
    # shellcheck disable=SC2086
    fetch "$(dpkg --print-architecture)" trixie "$dir" $libmnl_packages
    dpkg -i "$dir"/*.deb >&2
    has_static_libmnl
}

# Unpacked beside the tree and not installed: dpkg wants the packages of two architectures in the
# same version, which would tie this machine's own libraries to what the mirror has today.
make_sysroot() {
    local dir=$work/arm64 deb suite
    has_sysroot && return
    suite=$(codename)
    say "unpacking the arm64 libraries into $sysroot"
    # shellcheck disable=SC2086
    fetch arm64 "$suite" "$dir" $arm64_libraries
    [ "$suite" = bookworm ] && suite=trixie
    # shellcheck disable=SC2086
    fetch arm64 "$suite" "$dir" $libmnl_packages
    rm -rf "$sysroot"
    mkdir -p "$sysroot"
    for deb in "$dir"/*.deb; do
        dpkg-deb -x "$deb" "$sysroot"
    done
    echo "$sysroot_packages" >"$sysroot/packages"
}

if [ $# -eq 0 ]; then
    sed -n '3,8s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
sets=("$@")
packages=$build
wants_sysroot=false
for set in "${sets[@]}"; do
    case $set in
    build) ;;
    demo) packages+=" $demo" ;;
    test) packages+=" $demo $test $vm $engines" wants_sysroot=true ;;
    bench) packages+=" $bench" ;;
    vm) packages+=" $vm" ;;
    engines) packages+=" $engines" ;;
    *) say "unknown set '$set'"; exit 2 ;;
    esac
done
# shellcheck disable=SC2086
install_missing $packages
install_static_libmnl
if $wants_sysroot; then
    make_sysroot
fi

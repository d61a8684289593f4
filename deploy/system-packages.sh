#!/usr/bin/env bash
# Installs the Debian packages that are missing. Called by the Makefile and by deploy/station-service.sh.
#   system-packages.sh          what a device needs
#   system-packages.sh tests    and what the tests need: strace watches sockets, systemd runs the unit,
#                                  gcc makes the fault campaign's disk and a camera library with faults,
#                                  tmux shows the live view, mosquitto is the broker,
#                                  mbpoll is a PLC, prometheus reads the metrics, postgresql keeps
#                                  what the telemetry sink receives,
#                                  Aravis is a GigE camera and what drives it,
#                                  softhsm2 is a token that holds keys
set -euo pipefail

missing=()
need() {  # need PACKAGE COMMAND...: the package, unless the command succeeds
    "${@:2}" >/dev/null 2>&1 || missing+=("$1")
}

need python3 command -v python3
need python3-venv python3 -c 'import venv, ensurepip'
case "${1:-device}" in
    device) ;;
    tests)
        need strace command -v strace
        need systemd test -x /lib/systemd/systemd
        need util-linux command -v unshare
        need gcc command -v cc
        need libc6-dev test -e /usr/include/stdio.h
        need tmux command -v tmux
        need gir1.2-aravis-0.8 sh -c 'ls /usr/lib/*/girepository-1.0/Aravis-0.8.typelib'
        need python3-gi test -d /usr/lib/python3/dist-packages/gi
        need mosquitto test -x /usr/sbin/mosquitto
        need mosquitto-clients command -v mosquitto_pub
        need postgresql bash -c 'compgen -G "/usr/lib/postgresql/*/bin/postgres"'
        need mbpoll command -v mbpoll
        need prometheus command -v promtool
        need softhsm2 command -v softhsm2-util
        ;;
    *)
        echo "system-packages.sh: '$1' is unknown; write nothing for a device, or: tests" >&2
        exit 2
        ;;
esac

((${#missing[@]})) || exit 0
as_root=()
((EUID == 0)) || as_root=(sudo)
echo "installing: ${missing[*]}"
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq -o Dpkg::Use-Pty=0 --no-install-recommends "${missing[@]}"

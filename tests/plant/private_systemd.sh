#!/usr/bin/env bash
# private_systemd.sh FOLDER: a real systemd as process 1 of its own namespaces, which sees this machine's files, with
# empty state and an /etc of its own on top of the real one. What it does leaves no trace here. Needs root.
#
# FOLDER/units holds its units, FOLDER/mounts what it sees below /srv ("FROM TO", one per line). Ends when its
# standard input is closed.
set -euo pipefail

folder=$(realpath "$1")
groups=/sys/fs/cgroup/unified
[[ -d $groups ]] || groups=/sys/fs/cgroup
group=$groups/station-test-$$
mkdir "$group"
trap 'for _ in $(seq 50); do find "$group" -depth -type d -exec rmdir {} + 2>/dev/null && break; sleep 0.1; done' EXIT

(
    echo $BASHPID >"$group/cgroup.procs"
    exec unshare --mount --pid --fork --uts --ipc --net --cgroup --propagation private --kill-child \
        bash -euo pipefail -c '
        mount -t proc proc /proc
        mount -t tmpfs tmpfs /sys/fs/cgroup
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        mount -t tmpfs -o mode=755 tmpfs /srv
        mkdir /srv/.upper /srv/.work
        mount -t overlay -o lowerdir=/etc,upperdir=/srv/.upper,workdir=/srv/.work overlay /etc
        rm -rf /etc/systemd/system /etc/station
        mkdir /etc/systemd/system
        while read -r from to; do
            mkdir -p "$to"
            mount --bind "$from" "$to"
        done <"$1/mounts"
        mount -t tmpfs -o mode=755 tmpfs /run
        mkdir -p /run/systemd/system /run/lock
        cp -r "$1"/units/. /run/systemd/system/
        for place in /opt /var/lib /var/cache /var/backups; do mount -t tmpfs -o mode=755 tmpfs $place; done
        mount -t tmpfs tmpfs /tmp
        # Its own units only: none of this machine is started.
        export container=test SYSTEMD_UNIT_PATH=/etc/systemd/system:/run/systemd/system SYSTEMD_LOG_TARGET=console \
            SYSTEMD_PROC_CMDLINE=systemd.unified_cgroup_hierarchy=1
        exec /lib/systemd/systemd --system --unit=default.target --log-target=console --show-status=no
    ' bash "$folder"
) >"$folder/console" 2>&1 </dev/null &
space=$!

# The first child of unshare is process 1 in there.
for _ in $(seq 100); do
    first=$(cat "/proc/$space/task/$space/children" 2>/dev/null | tr -d ' ') || true
    [[ -z $first ]] || break
    sleep 0.05
done
[[ -n ${first:-} ]] || { cat "$folder/console" >&2 && exit 1; }
echo "$first"
cat >/dev/null || true
kill -KILL "$first" 2>/dev/null || true
wait "$space" 2>/dev/null || true

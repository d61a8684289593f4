#!/usr/bin/env bash
# Installs and looks after the station as a systemd service; docs/deployment.md describes it, --help lists it.
set -euo pipefail
umask 022

SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly SOURCE
readonly HOME_OF_RELEASES=/opt/station RELEASES=/opt/station/releases
readonly CURRENT=/opt/station/current PREVIOUS=/opt/station/previous
readonly CONFIG=/etc/station/station.yaml BACKUPS=/var/backups/station
readonly UPDATER=/etc/station/updater.yaml UPDATER_UNIT=/etc/systemd/system/station-updater
readonly UNIT=/etc/systemd/system/station.service DROP_INS=/etc/systemd/system/station.service.d

help() {
    cat <<'TEXT'
Usage: station-service.sh COMMAND [OPTIONS]          (as root)

  install    install the release of this checkout, user, folders, device rules and unit; then start
  upgrade    install a newer release, back up, switch over; go back if it does not become ready
  rollback   go back to the previous release
  status     show releases, state of the service, exposure
  allow      give the service access: gige-camera NETWORK, broker ADDRESS, gpu
  forbid     remove such access
  updates    on FILE ADDRESS...: install the engines that the plant orders, by FILE (updater.yaml), and let
             the updater reach these addresses; off: fetch no more
  backup     [FILE] save configuration, recipes, engines and journal; the station may run meanwhile
  restore    FILE restore a backup; the current files stay under other names
  uninstall  remove everything except configuration and records; --purge removes these too, after a backup

Options of install and upgrade:
  --config FILE        the first configuration; an installed one is always kept
  --python PYTHON      the interpreter (default /usr/bin/python3); 3.11 or newer, not in a home folder
  --wheels FOLDER      take every package from this folder; nothing is downloaded
  --extras NAMES       openvino (default), gpu, tensorrt ...; with commas, '' for none
  --system-packages    let the station see the interpreter's packages (TensorRT on a Jetson)
  --name NAME          the release's name (default: the version)
  --no-start           install only

Examples:
  sudo deploy/station-service.sh install --config my-station.yaml
  sudo deploy/station-service.sh upgrade --wheels /media/usb/wheels
  sudo deploy/station-service.sh allow gige-camera 192.168.10.0/24
  sudo deploy/station-service.sh updates on my-updater.yaml 10.1.2.7 10.1.2.8
  sudo deploy/station-service.sh backup /media/usb/station.tar.gz
TEXT
}

die() {
    echo "station-service: $*" >&2
    exit 1
}

say() { echo "station-service: $*"; }

# ---------------------------------------------------------------- releases

config_file="" python=/usr/bin/python3 wheels="" extras=openvino packages="" name="" start=yes

read_options() {
    while (($#)); do
        case "$1" in
            --config | --python | --wheels | --extras | --name)
                (($# > 1)) || die "$1 needs a value; see --help"
                case "$1" in
                    --config) config_file=$2 ;;
                    --python) python=$2 ;;
                    --wheels) wheels=$2 ;;
                    --extras) extras=$2 ;;
                    --name) name=$2 ;;
                esac
                shift 2
                ;;
            --system-packages) packages=--system-site-packages && shift ;;
            --no-start) start=no && shift ;;
            *) die "unknown option $1; see --help" ;;
        esac
    done
    [[ -z $wheels || -d $wheels ]] || die "no folder $wheels; --wheels takes a folder of .whl files"
    [[ -z $config_file || -f $config_file ]] || die "no file $config_file; --config takes a station.yaml"
    [[ -n $name ]] || name=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$SOURCE/pyproject.toml")
    [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._+-]*$ ]] ||
        die "a release cannot be named '$name'; use letters, digits and . _ + -"
}

check_python() {
    local found base
    found=$(command -v "$python") || die "no interpreter $python; apt-get install python3 python3-venv"
    "$found" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$found is older than Python 3.11; name a newer one with --python"
    "$found" -c 'import venv, ensurepip' 2>/dev/null ||
        die "$found cannot make virtual environments; apt-get install python3-venv"
    # The service sees no home folders: an interpreter there ends every start with status 203.
    base=$("$found" -c 'import os, sys; print(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))')
    case "$base" in
        /home/* | /root/* | /run/user/*)
            die "$found is $base, in a home folder, which the service cannot see; use --python /usr/bin/python3" ;;
    esac
    ! ldd "$base" 2>/dev/null | grep -qE '=> /(home|root|run/user)/' ||
        die "$found needs a library in a home folder, which the service cannot see; use --python /usr/bin/python3"
}

make_release() {
    local release=$RELEASES/$name from="$SOURCE${extras:+[$extras]}" pip=()
    if [[ -e $release/complete ]]; then
        say "release $name is already installed"
        return
    fi
    [[ ! -e $release ]] || { say "release $name is unfinished; it is made again" && rm -rf "$release"; }
    say "making release $name in $release"
    if [[ -n $wheels ]]; then
        pip=(--no-index --find-links "$wheels")
        [[ -z $(find "$wheels" -name 'inspection_station-*.whl' -print -quit) ]] ||
            from="inspection-station${extras:+[$extras]}==$(version_of_wheels)"
    fi
    install -d "$RELEASES"
    if ! "$python" -m venv $packages "$release" ||
        ! "$release/bin/python" -m pip install --quiet --disable-pip-version-check "${pip[@]}" "$from"; then
        rm -rf "$release"
        die "release $name could not be made (see above); nothing was changed"
    fi
    touch "$release/complete"
}

version_of_wheels() {
    local found=("$wheels"/inspection_station-*.whl)
    ((${#found[@]} == 1)) || die "$wheels holds ${#found[@]} wheels of inspection_station; leave one"
    basename "${found[0]}" | cut -d- -f2
}

point() {  # point LINK RELEASE: in one step, so that a power cut leaves the old or the new
    ln -sfn "$2" "$1.new" && mv -T "$1.new" "$1"
}

release_at() { [[ -L $1 ]] && basename "$(readlink "$1")" || true; }

# ---------------------------------------------------------------- machine

make_user() {
    local group
    for group in dialout video plugdev; do
        getent group "$group" >/dev/null || groupadd --system "$group"
    done
    getent passwd station >/dev/null ||
        useradd --system --user-group --no-create-home --home-dir /var/cache/station --shell /usr/sbin/nologin station
    getent passwd station-updater >/dev/null ||
        useradd --system --gid station --no-create-home --home-dir /var/lib/station-updater \
            --shell /usr/sbin/nologin station-updater
}

install_files() {
    install -m 644 "$SOURCE/systemd/station.service" "$UNIT"
    install -m 644 "$SOURCE/systemd/station-updater.service" "$UPDATER_UNIT.service"
    install -m 644 "$SOURCE/systemd/station-updater.timer" "$UPDATER_UNIT.timer"
    install -D -m 644 "$SOURCE/systemd/station.tmpfiles.conf" /etc/tmpfiles.d/station.conf
    install -D -m 644 "$SOURCE/systemd/70-station.rules" /etc/udev/rules.d/70-station.rules
    if (($(systemctl --version | sed -n '1s/^systemd \([0-9]*\).*/\1/p') >= 254)); then
        install -D -m 644 "$SOURCE/systemd/drop-ins/restart-steps.conf" "$DROP_INS/restart-steps.conf"
    fi
    systemd-tmpfiles --create /etc/tmpfiles.d/station.conf
    if command -v udevadm >/dev/null && [[ -S /run/udev/control ]]; then
        udevadm control --reload && udevadm trigger --subsystem-match=usb --subsystem-match=tty
    fi
    systemctl daemon-reload
}

copy_missing() {  # what a configuration names and the machine does not have yet
    local entry
    for entry in "$SOURCE"/recipes/*.yaml; do
        [[ -e /etc/station/recipes/$(basename "$entry") ]] ||
            install -m 640 -g station "$entry" /etc/station/recipes/
    done
    for entry in "$SOURCE"/engines/*/; do
        entry=${entry%/}
        if [[ ! -e /var/lib/station/engines/$(basename "$entry") ]]; then
            cp -r "$entry" /var/lib/station/engines/
            chown -R station:station "/var/lib/station/engines/$(basename "$entry")"
            chmod -R o-rwx "/var/lib/station/engines/$(basename "$entry")"
        fi
    done
}

check_config() {  # check_config RELEASE FILE: it can be read, and what it writes to can be written under the unit
    "$RELEASES/$1/bin/python" - "$2" "$DROP_INS" <<'PYTHON' || die "the configuration $2 cannot be used"
import re
import sys
from pathlib import Path

from drivers.errors import InspectionError
from station.config import load_config

file, drop_ins = Path(sys.argv[1]), Path(sys.argv[2])
try:
    paths = load_config(file).paths
except InspectionError as error:
    sys.exit(f"station-service: {error}")
writable = [Path("/var/lib/station"), Path("/var/cache/station")]
for drop_in in sorted(drop_ins.glob("*.conf")):
    for words in re.findall(r"^ReadWritePaths=(.*)$", drop_in.read_text(), re.MULTILINE):
        writable += [Path(word.lstrip("-+")) for word in words.split()]
wrong = [
    f"station-service: {file}: paths.{key}: the service cannot write to {path}; write a path below "
    f"{' or '.join(map(str, writable))}"
    for key in ("journal", "images", "cache", "rare")
    if (path := getattr(paths, key, None)) is not None
    and not any(path.is_relative_to(folder) for folder in writable)
]
sys.exit("\n".join(wrong) or None)
PYTHON
}

put_config() {
    install -d -m 750 -g station /etc/station
    if [[ -e $CONFIG ]]; then
        [[ -z $config_file ]] || cmp -s "$config_file" "$CONFIG" || say "$CONFIG is kept; $config_file is not used"
    elif [[ -n $config_file ]]; then
        # Checked at its place, because relative paths count from there.
        install -m 640 -g station "$config_file" "$CONFIG.new"
        if ! (check_config "$1" "$CONFIG.new"); then
            rm -f "$CONFIG.new"
            exit 1
        fi
        mv "$CONFIG.new" "$CONFIG"
        return
    else
        die "there is no $CONFIG yet; name a first one with --config (docs/configuration.md)"
    fi
    check_config "$1" "$CONFIG"
}

# ---------------------------------------------------------------- the service

is_active() { systemctl is-active --quiet station; }

began_well() {  # ready, and for a moment longer: not one that is started again and again
    systemctl restart station || return 1
    local _
    for _ in 1 2 3; do
        sleep 1
        is_active || return 1
    done
}

show_end() { journalctl -u station -n 20 --no-pager -o cat 2>/dev/null || true; }

make_key() {  # what the station hands over is signed with it; made once, kept over upgrades
    say "the station's public key, for the workshop (docs/hand-off.md):"
    as_station "$1/bin/station" keys show --config "$CONFIG" || die "the station's key cannot be used"
}

do_install() {
    read_options "$@"
    check_python
    make_release
    make_user
    put_config "$name"
    install_files
    copy_missing
    make_key "$RELEASES/$name"
    local before
    before=$(release_at "$CURRENT")
    if [[ -z $before ]]; then
        point "$CURRENT" "$RELEASES/$name"
    elif [[ $before != "$name" ]]; then
        say "release $before is installed; to change over: station-service.sh upgrade"
    fi
    systemctl enable --quiet station
    [[ $start == yes ]] || { say "installed; start it with: systemctl start station" && return; }
    if systemctl start station; then
        say "the station is ready"
    else
        show_end
        die "installed, but not ready yet; systemd keeps trying. See: journalctl -u station, and
  sudo -u station $CURRENT/bin/station check --config $CONFIG"
    fi
}

do_upgrade() {
    read_options "$@"
    local before older ran=no
    before=$(release_at "$CURRENT") older=$(release_at "$PREVIOUS")
    [[ -n $before ]] || die "nothing is installed yet; use: install"
    check_python
    [[ $before != "$name" ]] ||
        die "release $name already runs; raise the version in pyproject.toml, or name this one with --name"
    make_release
    check_config "$name" "$CONFIG"
    ! is_active || ran=yes
    do_backup "$BACKUPS/before-$name-$(date +%Y%m%d-%H%M%S).tar.gz"
    systemctl stop station
    point "$PREVIOUS" "$RELEASES/$before"
    point "$CURRENT" "$RELEASES/$name"
    install_files
    copy_missing
    [[ $start == yes ]] || { say "release $name is installed; start it with: systemctl start station" && return; }
    if began_well; then
        remove_old_releases
        say "release $name is ready; back to $before with: station-service.sh rollback"
    elif [[ $ran == yes ]]; then
        show_end
        point "$CURRENT" "$RELEASES/$before"
        if [[ -n $older ]]; then point "$PREVIOUS" "$RELEASES/$older"; else rm "$PREVIOUS"; fi
        systemctl restart station || true
        [[ $name == "$older" ]] || rm -rf "${RELEASES:?}/$name"
        die "release $name did not become ready; $before runs again"
    else
        die "release $name did not become ready, and $before was not ready before; systemd keeps trying (journalctl -u station)"
    fi
}

remove_old_releases() {  # all but the one that runs and the one before
    local release
    for release in "$RELEASES"/*; do
        case "$(basename "$release")" in
            "$(release_at "$CURRENT")" | "$(release_at "$PREVIOUS")") ;;
            *) say "removing the old release $(basename "$release")" && rm -rf "$release" ;;
        esac
    done
}

do_rollback() {
    local now before
    now=$(release_at "$CURRENT")
    before=${1:-$(release_at "$PREVIOUS")}
    [[ -n $now ]] || die "nothing is installed yet"
    [[ -n $before ]] || die "there is no release to go back to; 'status' lists the releases"
    [[ -e $RELEASES/$before/complete ]] || die "there is no release $before; 'status' lists the releases"
    [[ $before != "$now" ]] || die "release $now runs already"
    check_config "$before" "$CONFIG"
    systemctl stop station
    point "$PREVIOUS" "$RELEASES/$now"
    point "$CURRENT" "$RELEASES/$before"
    if began_well; then
        say "release $before is ready"
    else
        show_end
        die "release $before is installed but not ready; systemd keeps trying (journalctl -u station)"
    fi
}

do_status() {
    local release
    for release in "$RELEASES"/*/complete; do
        [[ -e $release ]] || continue
        release=$(basename "$(dirname "$release")")
        case "$release" in
            "$(release_at "$CURRENT")") echo "release  $release (runs)" ;;
            "$(release_at "$PREVIOUS")") echo "release  $release (before)" ;;
            *) echo "release  $release" ;;
        esac
    done
    echo "service  $(systemctl is-active station || true)"
    systemctl show station -p StatusText --value | sed 's/^/says     /'
    systemd-analyze security --no-pager station 2>/dev/null |
        sed -n 's/^→ Overall exposure level for [^:]*: /exposure /p' || true
}

do_allow() {
    local what=${1:-} addresses=${*:2}
    [[ -n $what && $what != restart-steps && $what != repositories && -f $SOURCE/systemd/drop-ins/$what.conf ]] ||
        die "'$what' is unknown; write gige-camera NETWORK, broker ADDRESS, or gpu"
    if grep -q ADDRESSES "$SOURCE/systemd/drop-ins/$what.conf"; then
        [[ $addresses =~ ^[0-9A-Fa-f.:/\ ]+$ ]] || die "allow $what needs addresses, such as 192.168.10.0/24"
    fi
    install -d "$DROP_INS"
    sed "s#=ADDRESSES#=$addresses#" "$SOURCE/systemd/drop-ins/$what.conf" >"$DROP_INS/$what.conf"
    systemctl daemon-reload
    say "allowed; it applies from the next start on: systemctl restart station"
}

do_forbid() {
    [[ -n ${1:-} && -f $DROP_INS/$1.conf ]] || die "'${1:-}' was not allowed; $DROP_INS holds what is"
    rm "$DROP_INS/$1.conf"
    systemctl daemon-reload
    say "closed; it applies from the next start on: systemctl restart station"
}

do_updates() {
    case "${1:-}" in
        on) updates_on "${@:2}" ;;
        off)
            systemctl disable --now --quiet station-updater.timer
            say "no more engines are fetched; $UPDATER is kept"
            ;;
        *) die "write: updates on FILE ADDRESS..., or: updates off" ;;
    esac
}

updates_on() {
    local file=${1:-} addresses=${*:2}
    [[ -e $CURRENT ]] || die "no station is installed yet; use: install"
    [[ -f $file ]] || die "no file '$file'; name an updater.yaml (docs/updates.md)"
    [[ $addresses =~ ^[0-9A-Fa-f.:/\ ]+$ ]] ||
        die "updates on needs the addresses of both repositories, or of the proxy, such as 10.1.2.7"
    make_user
    # Checked at its place, because relative paths count from there.
    install -m 640 -g station "$file" "$UPDATER.new"
    if ! (cd / && setpriv --reuid=station-updater --regid=station --clear-groups \
        "$CURRENT/bin/python" -m deploy.updater --check --config "$UPDATER.new"); then
        rm -f "$UPDATER.new"
        die "$file cannot be used (see above); where python-tuf is missing: upgrade --extras openvino,updates"
    fi
    mv "$UPDATER.new" "$UPDATER"
    install -d "$UPDATER_UNIT.service.d"
    sed "s#=ADDRESSES#=$addresses#" "$SOURCE/systemd/drop-ins/repositories.conf" \
        >"$UPDATER_UNIT.service.d/repositories.conf"
    install_files
    systemctl enable --now --quiet station-updater.timer
    say "engines are looked for every hour; at once: systemctl start station-updater"
}

# ---------------------------------------------------------------- backup

work=""  # a folder for a moment
trap '[[ -z $work ]] || rm -rf "$work"' EXIT

do_backup() {
    local file=${1:-$BACKUPS/station-$(date +%Y%m%d-%H%M%S).tar.gz}
    [[ -e $CONFIG ]] || die "nothing to back up: there is no $CONFIG"
    file=$(realpath -m "$file")
    [[ ! -e $file ]] || die "$file exists; name another file"
    [[ -d $(dirname "$file") || $file == "$BACKUPS"/* ]] ||
        die "no folder $(dirname "$file"); name a file in an existing folder"
    install -d -m 700 "$BACKUPS"
    make_work
    release_at "$CURRENT" >"$work/release"
    as_station "$CURRENT/bin/python" - "$CONFIG" "$work/journal" <<'PYTHON' ||
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from station.config import load_config

# The journal is copied while it is written: each database as one moment of it, the note of its last event first, so
# that the copy holds at least what the note says.
journal, copies = load_config(Path(sys.argv[1])).paths.journal, Path(sys.argv[2])
(copies / "path").write_text(f"{journal}\n")
files = sorted(journal.parent.glob(f"{journal.name}*"), key=lambda file: (file.suffix != ".head", file.name))
for file in files:
    if not file.is_file() or file.name.endswith(("-wal", "-shm", ".lock", ".sock", ".part")):
        continue
    copy = copies / file.name
    with file.open("rb") as opened:
        database = opened.read(16) == b"SQLite format 3\0"
    if database and file.stat().st_mode & 0o200:  # a sealed one is read-only, and copied as it is
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as live:
            with closing(sqlite3.connect(copy)) as copied:
                live.backup(copied)
    else:
        shutil.copy2(file, copy)
PYTHON
        die "the journal could not be copied (see above); no backup was made"
    local journal
    journal=$work/journal/$(basename "$(cat "$work/journal/path")")
    if [[ -e $journal ]]; then
        as_station "$CURRENT/bin/station" journal audit --journal "$journal" >"$work/audit" ||
            die "the copy of the journal does not pass its audit; no backup was made:
$(cat "$work/audit")"
    fi
    rm -f "$journal".lock "$journal"*-wal "$journal"*-shm
    (umask 077 && tar -C / -czf "$file.part" etc/station var/lib/station/engines -C "$work" release journal)
    mv "$file.part" "$file"
    say "backed up to $file; its journal passes the audit"
}

make_work() {  # a folder for a moment, whose folder journal the service may write to
    [[ -z $work ]] || rm -rf "$work"
    work=$(mktemp -d /var/lib/.station-work-XXXXXX)
    chmod 711 "$work"
    install -d -m 700 -o station -g station "$work/journal"
}

as_station() {  # so that no file of the journal is ever root's
    (umask 077 && cd / && setpriv --reuid=station --regid=station --init-groups "$@")
}

do_restore() {
    local file=${1:-} journal stamp ran=no member part
    [[ -f $file ]] || die "no file '$file'; name a file that backup made"
    tar -tzf "$file" >/dev/null || die "$file cannot be read; it is damaged or not a backup"
    while read -r member; do
        case "/$member/" in
            */../*) die "$file is not a backup of a station: it contains $member" ;;
            /etc/station/* | /var/lib/station/engines/* | /journal/* | /release/) ;;
            *) die "$file is not a backup of a station: it contains $member" ;;
        esac
    done < <(tar -tzf "$file")
    make_user
    make_work
    tar -C "$work" -xzf "$file"
    journal=$(cat "$work/journal/path")
    stamp=$(date +%Y%m%d-%H%M%S)
    ! is_active || ran=yes
    systemctl stop station 2>/dev/null || true
    [[ ! -e /etc/station ]] || mv /etc/station "/etc/station.before-$stamp"
    cp -a "$work/etc/station" /etc/station
    chgrp -R station /etc/station
    install -d -m 750 -o station -g station /var/lib/station "$(dirname "$journal")"
    [[ ! -e /var/lib/station/engines ]] || mv /var/lib/station/engines "/var/lib/station/engines.before-$stamp"
    cp -a "$work/var/lib/station/engines" /var/lib/station/engines
    for part in "$journal"*; do
        [[ ! -e $part || $part == *.before-* ]] || move_aside "$part" "$(dirname "$journal")/before-$stamp"
    done
    rm "$work/journal/path"
    chown -R station:station /var/lib/station/engines "$work/journal"
    find "$work/journal" -mindepth 1 -exec cp -a -t "$(dirname "$journal")" {} +
    say "restored from $file (release $(cat "$work/release")); the earlier files end in before-$stamp"
    if [[ $ran == yes ]]; then
        systemctl start station || die "restored, but not ready yet; systemd keeps trying (journalctl -u station)"
    fi
}

move_aside() {
    install -d -m 750 -o station -g station "$2"
    mv "$1" "$2"
}

do_uninstall() {
    local purge=no
    case "${1:-}" in
        "") ;;
        --purge) purge=yes ;;
        *) die "unknown option $1; uninstall knows --purge" ;;
    esac
    if [[ $purge == yes && -e $CONFIG && -e $CURRENT ]]; then do_backup; fi
    systemctl disable --now --quiet station station-updater.timer 2>/dev/null || true
    rm -rf "$UNIT" "$DROP_INS" "$UPDATER_UNIT.service" "$UPDATER_UNIT.timer" "$UPDATER_UNIT.service.d" /etc/tmpfiles.d/station.conf /etc/udev/rules.d/70-station.rules "$HOME_OF_RELEASES"
    systemctl daemon-reload
    if [[ $purge == yes ]]; then
        rm -rf /etc/station /var/lib/station /var/lib/station-updater /var/cache/station
        userdel station-updater 2>/dev/null || true
        userdel station 2>/dev/null || true
        say "removed, with configuration and records; the last backup is in $BACKUPS"
    else
        say "removed; /etc/station and /var/lib/station are kept"
    fi
}

for word in "$@"; do
    case "$word" in -h | --help) help && exit 0 ;; esac
done
command=${1:-}
shift || true
case "$command" in
    install | upgrade | rollback | status | allow | forbid | backup | restore | uninstall | updates) ;;
    "") help >&2 && exit 2 ;;
    *) die "unknown command $command; see --help" ;;
esac
((EUID == 0)) || die "must be run as root: sudo $0 $command"
command -v systemctl >/dev/null || die "there is no systemd on this machine"
exec 9>/run/lock/station-service.lock
flock -n 9 || die "another station-service.sh is running; wait until it has ended"
"do_$command" "$@"

#!/bin/sh
# Installs tracker as a systemd service, or removes it; run by `make install` and `make uninstall`.
#
#   PREFIX    where the program goes (/usr/local)
#   DESTDIR   a staging directory put before every path, for packages
#   UNITDIR   where the units go (PREFIX/lib/systemd/system, which systemd reads for /usr and /usr/local)
#   CONFDIR   where the configuration goes (/etc/tracker)
#   PYTHON    the Python to use; not below a home directory, which the service cannot read
#   WHEEL     the wheel of tracker to install instead of this checkout
#   WHEELS    a directory of wheels to take everything from, for machines without a network: pip download fills it
#
# Each installation is a virtual environment of its own below PREFIX/lib/tracker; the link `current` says which one
# holds. So a daemon that runs keeps its files until it is restarted, and a failed installation changes nothing.
set -eu
cd "$(dirname "$0")/.."

PREFIX=${PREFIX:-/usr/local}
DESTDIR=${DESTDIR:-}
CONFDIR=${CONFDIR:-/etc/tracker}
case $PREFIX in
    /usr | /usr/local) UNITDIR=${UNITDIR:-$PREFIX/lib/systemd/system} ;;
    *) UNITDIR=${UNITDIR:-/etc/systemd/system} ;;
esac
UNITS="tracker.service tracker.socket tracker@.service tracker@.socket
    tracker-backup.service tracker-backup.timer tracker-backup@.service tracker-backup@.timer"
LIB=$PREFIX/lib/tracker
DOC=$PREFIX/share/doc/tracker

say() { echo "tracker: $*"; }
fail() { echo "tracker: $*" >&2; exit 1; }
on_this_system() { [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; }

find_python() {
    found=
    for python in ${PYTHON:-/usr/bin/python3.14 /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11 \
        /usr/bin/python3 /usr/local/bin/python3}; do
        path=$(command -v "$python") || continue
        "$path" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        found=$path
        "$path" -c 'import ensurepip, venv' 2>/dev/null || continue
        case $(readlink -f "$path") in
            /root/* | /home/*) continue ;;
            *) echo "$path"; return ;;
        esac
    done
    [ -z "$found" ] || fail "$found will not do: install the package python3-venv, and use a Python outside of homes"
    fail "needs Python 3.11 or newer from the system; set PYTHON=/path/to/python3"
}

# pip_install LOCKFILE [OPTION...]: exactly what a lock file lists, each file checked against its hash. The files of
# WHEELS were checked when they were downloaded.
pip_install() {
    lock=$1
    shift
    if [ -n "${WHEELS:-}" ]; then
        sed -e '/^ *--hash/d' -e 's/ *\\$//' "$lock" > "$work/$lock"
        set -- "$@" --no-index --find-links "$WHEELS" -r "$work/$lock"
    else
        set -- "$@" --require-hashes --only-binary :all: -r "$lock"
    fi
    "$new/bin/python" -m pip install -qq --no-deps --no-compile "$@"
}

install_program() {
    python=$(find_python)
    umask 022
    name=$(date -u +%Y%m%d%H%M%S)-$$
    new=$DESTDIR$LIB/$name
    work=$(mktemp -d)
    trap 'rm -rf "$work" "$new"' EXIT
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_INPUT=1

    mkdir -p "$DESTDIR$LIB" "$DESTDIR$PREFIX/bin"
    say "building a virtual environment with $("$python" --version) in $LIB"
    "$python" -m venv "$new"
    pip_install requirements.txt
    if [ -z "${WHEEL:-}" ]; then
        pip_install requirements-build.txt --target "$work/build"
        PYTHONPATH=$work/build "$new/bin/python" -m hatchling build --target wheel --directory "$work" > "$work/build.log" 2>&1 || { cat "$work/build.log" >&2; exit 1; }
        WHEEL=$(echo "$work"/*.whl)
    fi
    "$new/bin/python" -m pip install -qq --no-deps --no-index --no-compile "$WHEEL"
    # the paths inside are those that it will have when it is unpacked
    if [ -n "$DESTDIR" ]; then
        find "$new/bin" "$new/pyvenv.cfg" -type f -exec sed -i "s|$DESTDIR||g" {} +
        find "$new/lib" -name '*.pyc' -delete
    fi
    # the service cannot write there, so nothing would be compiled later
    "$new/bin/python" -m compileall -q -x '/(pip|setuptools)/' ${DESTDIR:+-s "$DESTDIR"} "$new/lib"
    version=$("$new/bin/python" -c 'import tracker; print(tracker.__version__)')

    previous=$(readlink "$DESTDIR$LIB/current" || true)
    ln -sfn "$name" "$DESTDIR$LIB/.current.$$"
    mv -fT "$DESTDIR$LIB/.current.$$" "$DESTDIR$LIB/current"
    trap 'rm -rf "$work"' EXIT
    ln -sfn ../lib/tracker/current/bin/tracker "$DESTDIR$PREFIX/bin/tracker"
    # a daemon that still runs has the previous one; what is older is of no use to anybody
    for old in "$DESTDIR$LIB"/*; do
        case ${old##*/} in "$name" | "$previous" | current) ;; *) rm -rf "$old" ;; esac
    done
}

install_units() {
    mkdir -p "$DESTDIR$UNITDIR"
    for unit in $UNITS; do
        sed "s|/usr/local/bin/tracker|$PREFIX/bin/tracker|g" "systemd/$unit" > "$DESTDIR$UNITDIR/$unit"
        chmod 0644 "$DESTDIR$UNITDIR/$unit"
    done
    mkdir -p "$DESTDIR$DOC/examples"
    cp -f systemd/examples/*.conf config/nginx.conf config/Caddyfile "$DESTDIR$DOC/examples/"
    cp -f README.md LICENSE "$DESTDIR$DOC/"
}

install_configuration() {
    mkdir -p "$DESTDIR$CONFDIR/hooks.d"
    [ -d "$DESTDIR/etc/credstore" ] || install -d -m 0700 "$DESTDIR/etc/credstore"
    [ -e "$DESTDIR$CONFDIR/tracker.toml" ] && return
    # commands that root runs by hand find the database of the service by this line
    sed 's|^# path = "/var/lib/tracker/tracker.db"|path = "/var/lib/tracker/tracker.db"|' config/tracker.toml \
        > "$DESTDIR$CONFDIR/tracker.toml"
    chmod 0644 "$DESTDIR$CONFDIR/tracker.toml"
}

case ${1:-} in
    install)
        install_program
        install_units
        install_configuration
        if on_this_system; then
            systemctl daemon-reload
            if systemctl -q is-active tracker.service; then
                say "version $version is installed; the old one still runs: systemctl restart tracker.service"
                exit
            fi
        fi
        say "version $version is installed; next: $CONFDIR/tracker.toml, then systemctl enable --now tracker.service"
        ;;
    uninstall)
        if on_this_system; then
            for unit in $UNITS; do
                case $unit in *@.*) unit=$(echo "$unit" | sed 's/@/@*/') ;; esac
                systemctl -q stop "$unit" 2>/dev/null || true
            done
            systemctl -q disable $UNITS 2>/dev/null || true
        fi
        for unit in $UNITS; do rm -f "$DESTDIR$UNITDIR/$unit"; done
        rm -rf "$DESTDIR$LIB" "$DESTDIR$DOC"
        rm -f "$DESTDIR$PREFIX/bin/tracker"
        if on_this_system; then systemctl daemon-reload; fi
        say "is uninstalled; left as they were: $CONFDIR, /etc/credstore, /var/lib/tracker"
        ;;
    *) fail "usage: systemd/install.sh install|uninstall" ;;
esac

#!/bin/bash
# Becomes PID 1 of fresh namespaces: builds a throw-away copy of this machine and starts its systemd there.
#
#   boot.sh WORK [SOURCE:TARGET...]      SOURCE (a directory) is seen at TARGET inside, read-only
#
# Run by machine.py under unshare. The whole file system is an overlay of /, so nothing done inside is done outside.
set -eu
work=$1
shift
root=$work/m/root

mount --make-rprivate /
mount -t tmpfs -o mode=755,size=1g tmpfs "$work/m"
mkdir -p "$work/m/upper" "$work/m/work" "$root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$work/m/upper,workdir=$work/m/work" "$root"
for directory in proc sys dev run tmp; do mkdir -p "$root/$directory"; done
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys"
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"

mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
for node in null zero full random urandom tty; do
    : > "$root/dev/$node"
    mount --bind "/dev/$node" "$root/dev/$node"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for n in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${n%%:*}" "$root/dev/${n#*:}"; done
: > "$root/dev/console"
mount --bind "$work/console.log" "$root/dev/console"

for pair in "$@"; do
    mkdir -p "$root${pair#*:}"
    mount --bind "${pair%%:*}" "$root${pair#*:}"
    mount -o remount,bind,ro "$root${pair#*:}"
done
ip link set lo up

# what a machine with hardware, users and a network of its own would start
mkdir -p "$root/run/systemd/system"
for unit in systemd-udevd.service systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-udev-trigger.service \
    systemd-networkd.service systemd-resolved.service systemd-timesyncd.service systemd-logind.service getty.target \
    console-getty.service systemd-ask-password-console.path systemd-ask-password-wall.path \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service systemd-binfmt.service ldconfig.service \
    systemd-journal-flush.service systemd-hwdb-update.service systemd-journal-catalog-update.service \
    systemd-pcrphase.service systemd-pcrphase-sysinit.service systemd-firstboot.service \
    systemd-machine-id-commit.service modprobe@.service kmod-static-nodes.service systemd-modules-load.service \
    systemd-journald-audit.socket proc-sys-fs-binfmt_misc.automount sys-kernel-debug.mount sys-kernel-tracing.mount \
    sys-fs-fuse-connections.mount sys-kernel-config.mount dev-hugepages.mount dev-mqueue.mount \
    keyboard-setup.service console-setup.service; do
    ln -sf /dev/null "$root/run/systemd/system/$unit"
done
cat > "$root/run/systemd/system/test-machine.target" <<UNIT
[Unit]
Requires=basic.target dbus.socket
After=basic.target dbus.socket
AllowIsolate=yes
UNIT
: > "$root/etc/fstab"
rm -f "$root/etc/machine-id"
tr -d - < /proc/sys/kernel/random/uuid > "$root/etc/machine-id"
rm -rf "$root/var/log/journal" "$root"/etc/systemd/system/*.wants "$root"/etc/systemd/system/tracker*

mkdir -p "$root/.outside"
cd "$root"
pivot_root . .outside
cd /
umount -l /.outside
rmdir /.outside 2> /dev/null || true
mount --make-rshared / # credentials need it, and in a container PID 1 leaves it to others
exec env -i container=test PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    /lib/systemd/systemd --system --unit=test-machine.target --log-target=journal --show-status=0 \
    < /dev/null >> /dev/console 2>&1

#!/bin/sh
# Process 1 of the User Mode Linux lab. Is in the run directory with `params`, `lab.sh`, `env` and `command`.
# Stage 1 runs on the machine's own file system, read-only through hostfs; it lays a tmpfs and the tree of packages over it
# and makes that the root: everything can be written, nothing reaches the machine but /lab/out and /lab/run.
# Stage 2 brings up the devices, OpenZFS and the hosts, runs the command, leaves its exit status, and switches off.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8

if [ "$1" != stage2 ]; then
    run=${0%/*}
    . "$run/params"
    mount -t tmpfs -o mode=755 lab /run
    mkdir /run/tree /run/upper /run/work /run/root
    # A mount of its own: layers of one file system must not be in each other.
    mount -t hostfs -o "$LAB_TREE" none /run/tree
    mount -t overlay -o lowerdir=/run/tree:/,upperdir=/run/upper,workdir=/run/work lab-root /run/root
    cd /run/root
    mkdir -p lab/out lab/run lab/tmp lab/old
    mount -t hostfs -o "$run" none lab/run
    mount -t hostfs -o "$LAB_OUT" none lab/out
    pivot_root . lab/old
    exec chroot . /bin/sh /lab/run/init stage2 < /dev/null
fi

. /lab/run/params
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
ln -s /proc/self/fd /dev/fd
ln -s fd/0 /dev/stdin
ln -s fd/1 /dev/stdout
ln -s fd/2 /dev/stderr
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o size=100%,mode=1777 shm /dev/shm
mount -t tmpfs -o mode=755 run /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup 2>/dev/null
exec > /dev/console 2>&1
echo 30 > /proc/sys/kernel/hung_task_timeout_secs
echo 20 > /proc/sys/kernel/hung_task_warnings
echo 1 > /proc/sys/kernel/sysrq
[ -z "$LAB_NOT_ROOT" ] || mount -t tmpfs -o mode=700 root-home /root

insmod "$LAB_KERNEL/spl.ko" && insmod "$LAB_KERNEL/zfs.ko" zfs_arc_max=1073741824
[ -c /dev/zfs ] || echo "lab-fatal: OpenZFS did not load"

# udevd makes /dev/zvol/POOL/NAME for every zvol, as on any host.
mkdir -p /run/udev
udevd=/usr/lib/systemd/systemd-udevd
[ -x $udevd ] && $udevd --daemon > /dev/null 2>&1

export ZHAUL_LAB=uml LAB_POOL_PREFIX=
. /lab/run/lab.sh

# The command's own consoles: con1 carries stdin and stdout, con2 stderr, both as they are.
if [ -n "$LAB_INTERACTIVE" ]; then
    setsid --ctty sh -c '. /lab/run/lab.sh; lab_on_pve0 /lab/run/command' < /dev/tty1 > /dev/tty1 2>&1
    status=$?
else
    stty -F /dev/tty1 raw -echo
    stty -F /dev/tty2 raw -echo
    # A size is kept only as long as the console is open.
    ([ -z "$LAB_SIZE" ] || stty $LAB_SIZE <&2; lab_on_pve0 /lab/run/command) < /dev/null > /dev/tty1 2> /dev/tty2
    status=$?
    # stty waits until what was written has left.
    stty -F /dev/tty1 raw
    stty -F /dev/tty2 raw
fi
dmesg > /lab/run/dmesg
echo $status > /lab/run/status
echo o > /proc/sysrq-trigger
sleep 60

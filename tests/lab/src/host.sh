#!/bin/bash
# The lab on a machine with an OpenZFS of its own. Runs as root in new mount, network, UTS and process namespaces; is in the
# run directory with `params`, `lab.sh` and `command`. Makes a throw-away overlay the root, as in the User Mode Linux lab, so
# that /etc/hosts, ~/.ssh and all else can be written without being changed. Pools are files in the run directory; whoever
# started this destroys those listed in its file `lab-pools`.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8

if [ "$1" != stage2 ]; then
    run=${0%/*}
    . "$run/params"
    set -e
    mount --make-rprivate /
    # The machine's other file systems, read-only, found before anything is added. The kernel's own come below.
    mapfile -t others < <(findmnt -rnuo TARGET,FSTYPE | awk '$2 ~ /^(ext|xfs|btrfs|zfs|f2fs|fuse|9p|virtiofs|nfs|hostfs|tmpfs)/ &&
        $1 != "/" && $1 !~ /^\/(dev|proc|sys|run|tmp)(\/|$)/ { print $1 }')
    mkdir -p "$run/layer"
    mount -t tmpfs -o mode=755 lab "$run/layer"
    root=$run/layer/root
    mkdir "$run/layer/upper" "$run/layer/work" "$root"
    [ -z "$LAB_TREE" ] || cp -a "$LAB_TREE/." "$run/layer/upper/"
    mount -t overlay -o "lowerdir=/,upperdir=$run/layer/upper,workdir=$run/layer/work" lab-root "$root"
    for target in "${others[@]}"; do
        mkdir -p "$root$target" && mount --bind "$target" "$root$target" && mount -o remount,bind,ro "$root$target" || true
    done
    mkdir -p "$root"/lab/{run,out,tmp,old} "$root"/{proc,sys,dev,run}
    mount --rbind /dev "$root/dev"
    mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
    mount -t proc proc "$root/proc"
    mount -t sysfs sysfs "$root/sys"
    mount -t tmpfs -o mode=755 run "$root/run"
    # udev's own notes, so that `udevadm settle` knows of the machine's udevd.
    if [ -d /run/udev ]; then mkdir "$root/run/udev"; mount --bind /run/udev "$root/run/udev"; fi
    mount --bind "$run" "$root/lab/run"
    # OpenZFS opens the pools' files from the first process's file system: their path must be one in both.
    mkdir -p "$root$run"
    mount --bind "$run" "$root$run"
    echo "LAB_POOL_DIR='$run'" >> "$run/params"
    mount --bind "$LAB_OUT" "$root/lab/out"
    cd "$root"
    pivot_root . lab/old
    exec chroot . /bin/bash /lab/run/host stage2
fi

umount -l /lab/old
. /lab/run/params
export ZHAUL_LAB=host LAB_POOL_PREFIX LAB_POOL_DIR
. /lab/run/lab.sh > /lab/run/up.log 2>&1
# The clock is the machine's: nothing in here may set it.
exec setpriv --bounding-set -sys_time --inh-caps -sys_time nsenter --net=/run/netns/pve0 --uts=/run/lab/uts/pve0 -- /lab/run/command

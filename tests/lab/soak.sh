# One round of `cargo lab soak`: volumes are written, snapshotted, sent through a pipe and over ssh, received and destroyed.
set -eo pipefail
p=$ZHAUL_LAB_POOL_PVE0 b=$ZHAUL_LAB_POOL_NFS8
for round in 1 2 3; do
    zfs create -p -V 512M "$p/data/vm-$round-disk-0"
    until [ -e "/dev/zvol/$p/data/vm-$round-disk-0" ]; do sleep 0.05; done
    dd if=/dev/urandom of="/dev/zvol/$p/data/vm-$round-disk-0" bs=1M count=64 conv=fsync status=none
    zfs snapshot "$p/data/vm-$round-disk-0@a"
    dd if=/dev/urandom of="/dev/zvol/$p/data/vm-$round-disk-0" bs=64k count=256 oflag=direct status=none
    zfs snapshot "$p/data/vm-$round-disk-0@b"
    zfs send "$p/data/vm-$round-disk-0@a" | zfs receive -u "$b/vm-$round"
    zfs send -i @a "$p/data/vm-$round-disk-0@b" | ssh nfs8 "zfs receive -u $b/vm-$round"
    want=$(zfs get -H -o value guid "$p/data/vm-$round-disk-0@b")
    [ "$want" = "$(zfs get -H -o value guid "$b/vm-$round@b")" ]
done
zfs destroy -r "$p/data"
zpool scrub -w "$b"
zpool status -x "$b"

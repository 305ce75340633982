# The hosts of the lab, the same for both kinds (User Mode Linux, or a machine with its own OpenZFS): sourced by its init
# after the root is a throw-away overlay. Brings up, on first sourcing:
#   hosts     pve0 10.77.0.10, nfs8 10.77.0.18, nfs9 10.77.0.19: network namespaces on one bridge, UTS names of their own
#   offline   10.77.0.99: a name that resolves, and an address that answers at once "no route to host"
#   sshd      in nfs8, nfs9 and pve0: config /run/lab/HOST.sshd, pid /run/lab/HOST.pid, log /run/lab/HOST.log
#   pools     rpool (pve0), tank8 (nfs8), tank9 (nfs9), sparse files /dev/shm/lab-HOST.img
#   /lab/bin  on HOST CMD…   runs CMD as on that host (network and UTS name; the file system is one for all)
#             sshd-stop HOST, sshd-start HOST;  unplug HOST, plug HOST (its network cable)
[ -n "$LAB_POOL_SIZE" ] || LAB_POOL_SIZE=3G

lab_on_pve0() {
    exec nsenter --net=/run/netns/pve0 --uts=/run/lab/uts/pve0 -- "$@"
}

lab_names() {
    printf '%s\n' '127.0.0.1 localhost' '::1 localhost' '10.77.0.10 pve0' '10.77.0.18 nfs8' '10.77.0.19 nfs9' \
        '10.77.0.99 offline' > /etc/hosts
    printf '%s\n' 'passwd: files' 'group: files' 'shadow: files' 'hosts: files' 'services: files' > /etc/nsswitch.conf
    # No name server: an unknown name fails at once. (A link on many machines, so it is replaced, not written through.)
    rm -f /etc/resolv.conf
    : > /etc/resolv.conf
    rm -f /etc/hostname
    echo pve0 > /etc/hostname
    grep -q '^sshd:' /etc/passwd || echo 'sshd:x:22222:65534::/run/sshd:/usr/sbin/nologin' >> /etc/passwd
}

lab_tools() {
    # sshd lets a channel's buffer grow in small steps up to 2 MiB, each a mapping of its own: 3 s of page faults for the
    # first megabytes of every stream under User Mode Linux, where a fault costs some 25 us. On the heap it is nothing.
    local malloc=glibc.malloc.mmap_threshold=67108864:glibc.malloc.trim_threshold=268435456:glibc.malloc.top_pad=8388608
    # A zhaul that is installed on the machine is not on these hosts. Only in here: the root is an overlay that is thrown away.
    [ "$(stat -f -c %T /)" != overlayfs ] || rm -f /usr/local/bin/zhaul /usr/bin/zhaul
    mkdir -p /lab/bin /run/lab/uts /run/netns /run/lock
    printf '%s\n' '#!/bin/sh' 'host=$1; shift' \
        'exec nsenter --net=/run/netns/$host --uts=/run/lab/uts/$host -- "$@"' > /lab/bin/on
    printf '%s\n' '#!/bin/sh' "export GLIBC_TUNABLES=$malloc" \
        'exec /lab/bin/on "$1" "$(command -v sshd || echo /usr/sbin/sshd)" -f "/run/lab/$1.sshd" -E "/run/lab/$1.log"' > /lab/bin/sshd-start
    printf '%s\n' '#!/bin/sh' '# Ends the listener; sessions go on, as with a stopped service.' \
        'kill "$(cat "/run/lab/$1.pid")" && while [ -e "/run/lab/$1.pid" ]; do sleep 0.02; done' > /lab/bin/sshd-stop
    printf '%s\n' '#!/bin/sh' 'exec /lab/bin/on "$1" ip link set eth0 down' > /lab/bin/unplug
    printf '%s\n' '#!/bin/sh' 'exec /lab/bin/on "$1" ip link set eth0 up' > /lab/bin/plug
    chmod 755 /lab/bin/*
}

# $1 host, $2 last part of the address
lab_host() {
    ip netns add "$1"
    : > "/run/lab/uts/$1"
    unshare --uts="/run/lab/uts/$1" hostname "$1"
    ip link add "lab-$1" type veth peer name eth0 netns "$1"
    ip link set "lab-$1" master lab0 up
    printf '%s\n' 'link set lo up' "addr add 10.77.0.$2/24 dev eth0" 'link set eth0 up' 'route add unreachable 10.77.0.99' |
        ip -n "$1" -batch -
    printf '%s\n' "ListenAddress 10.77.0.$2" 'HostKey /lab/ssh/host' 'AuthorizedKeysFile /lab/ssh/client.pub' \
        'PermitRootLogin yes' 'StrictModes no' 'UsePAM no' 'UseDNS no' 'PasswordAuthentication no' 'KbdInteractiveAuthentication no' \
        'MaxStartups 500' 'MaxSessions 500' 'LoginGraceTime 30' 'PrintMotd no' 'PrintLastLog no' 'LogLevel VERBOSE' \
        "PidFile /run/lab/$1.pid" 'Subsystem sftp internal-sftp' > "/run/lab/$1.sshd"
    /lab/bin/sshd-start "$1"
}

lab_ssh() {
    rm -rf /lab/ssh
    mkdir -p -m 755 /lab/ssh /run/sshd
    # The user's own ~/.ssh stays out of the lab.
    mkdir -p /root/.ssh
    mount -t tmpfs -o mode=700 root-ssh /root/.ssh
    # So do his shell's start files: sshd's bash reads ~/.bashrc for every command, and some take seconds.
    rm -f /root/.bash_profile /root/.bash_login /root/.profile
    echo 'PS1="\h:\w# "' > /root/.bashrc
    ssh-keygen -q -t ed25519 -N '' -C lab-host -f /lab/ssh/host
    ssh-keygen -q -t ed25519 -N '' -C lab-client -f /lab/ssh/client
    cp /lab/ssh/client /root/.ssh/id_ed25519
    cp /lab/ssh/client.pub /root/.ssh/id_ed25519.pub
    for host in pve0,10.77.0.10 nfs8,10.77.0.18 nfs9,10.77.0.19; do
        echo "$host $(cat /lab/ssh/host.pub)"
    done > /root/.ssh/known_hosts
    printf '%s\n' 'Host *' '  KexAlgorithms curve25519-sha256' '  BatchMode yes' '  ConnectTimeout 10' '  GSSAPIAuthentication no' > /root/.ssh/config
    chmod 600 /root/.ssh/*
}

# $1 host, $2 pool
lab_pool() {
    truncate -s "$LAB_POOL_SIZE" "$LAB_POOL_DIR/lab-$1.img"
    zpool create -f -o cachefile=none "$2" "$LAB_POOL_DIR/lab-$1.img" && echo "$2" >> "$LAB_POOL_DIR/lab-pools"
}

lab_up() {
    lab_names
    lab_tools
    lab_ssh
    lab_pool pve0 "$ZHAUL_LAB_POOL_PVE0" &
    lab_pool nfs8 "$ZHAUL_LAB_POOL_NFS8" &
    lab_pool nfs9 "$ZHAUL_LAB_POOL_NFS9" &
    ip link set lo up
    ip link add lab0 type bridge forward_delay 0
    ip link set lab0 up
    lab_host pve0 10
    lab_host nfs8 18
    lab_host nfs9 19
    wait
    touch /run/lab/up
}

export ZHAUL_LAB_POOL_PVE0="${LAB_POOL_PREFIX:-}$([ -n "$LAB_POOL_PREFIX" ] && echo pve0 || echo rpool)"
export ZHAUL_LAB_POOL_NFS8="${LAB_POOL_PREFIX:-}$([ -n "$LAB_POOL_PREFIX" ] && echo nfs8 || echo tank8)"
export ZHAUL_LAB_POOL_NFS9="${LAB_POOL_PREFIX:-}$([ -n "$LAB_POOL_PREFIX" ] && echo nfs9 || echo tank9)"
export LAB_POOL_DIR="${LAB_POOL_DIR:-/dev/shm}"
[ -e /run/lab/up ] || lab_up

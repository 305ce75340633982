#!/bin/bash
# zhaul's data path beside the pipelines that users have, in alternating rounds; prints medians and ratios.
#
#   benches/side_by_side.sh STREAM [ROUNDS] [WHAT...]
#
# STREAM is a recorded `zfs send`, WHAT is some of: plain zstd auto connections tls (all), or memory or rate, alone. Both ends run
# on this machine, over loopback or a pipe. Without LINK a short STREAM is repeated up to 3 GiB, so that starting and logging
# in weigh little. One `flow` writes it as a kernel that sends does, another reads it as one that receives, for zhaul through
# pipes of the size that zhaul makes, else through ordinary ones; CPU is that of all processes, with and without these two.
# `flow` is built by `cargo bench --bench flow --no-run`, or given as $FLOW; tools may be given as $PV, $MBUFFER, $ZSTD,
# $SSHD. `tls` starts an sshd of its own on the loopback, with keys and settings in a directory that is thrown away; as root
# it needs what any sshd needs (/run/sshd, a user sshd).
# LINK=100mbit (root only) slows the loopback down.
set -euo pipefail
stream=$1 rounds=${2:-5}
shift; shift || true
what=${*:-plain zstd auto connections tls}
pv=${PV:-pv} mbuffer=${MBUFFER:-mbuffer} zstd=${ZSTD:-zstd} sshd=${SSHD:-/usr/sbin/sshd}
if [ -z "${FLOW:-}" ]; then
    FLOW=$(cargo bench --bench flow --no-run --message-format=json 2>/dev/null | grep -o '"executable":"[^"]*flow-[^"]*"' | cut -d'"' -f4)
fi
flow=$FLOW
port=45117
size=$(stat -c %s "$stream")
least=$((3 * 1024 ** 3))
[ -z "${LINK:-}" ] || least=1
times=$(((least + size - 1) / size)) bytes=$((size * times))
ssh_port=45118
dir=$(mktemp -d)
rows=$dir/rows server=
export FLOW_ZFS=$dir/zfs
trap '[ -z "$server" ] || kill "$server"; rm -rf "$dir"' EXIT
TIMEFORMAT='%R %U %S'

# Reading it once puts it into the cache for all.
cat "$stream" > /dev/null

one() { # one GROUP WAY: runs the function of that name once
    local group=$1 way=$2 spent before
    before=$(server_cpu)
    : > "$FLOW_ZFS"
    spent=$({ time "$way" >/dev/null 2>"$rows.errors"; } 2>&1) || { echo "$way failed: $(cat "$rows.errors" "$rows" | head -5)" >&2; return; }
    echo "$group $way $spent $before $(server_cpu) $(awk '{ sum += $1 } END { print sum + 0 }' "$FLOW_ZFS")" >> "$rows"
    rm -f "$rows.errors"
}

# What the sshd and all that it started have used so far, in seconds: they are no children of this shell.
server_cpu() {
    [ -n "$server" ] || { echo 0; return; }
    while pgrep -P "$server" > /dev/null; do sleep 0.01; done
    awk -v hz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13 + $14 + $15) / hz }' "/proc/$server/stat"
}

# An sshd for this user alone, and how it is reached.
start_sshd() {
    ssh-keygen -q -t ed25519 -N '' -f "$dir/host"
    ssh-keygen -q -t ed25519 -N '' -f "$dir/user"
    printf '%s\n' "Port $ssh_port" 'ListenAddress 127.0.0.1' "HostKey $dir/host" "AuthorizedKeysFile $dir/user.pub" \
        'StrictModes no' 'UsePAM no' 'PidFile none' 'PermitRootLogin yes' > "$dir/sshd_config"
    echo "[127.0.0.1]:$ssh_port $(cut -d' ' -f1,2 "$dir/host.pub")" > "$dir/known_hosts"
    "$sshd" -D -e -f "$dir/sshd_config" 2> "$dir/sshd.log" &
    server=$!
    for ((try = 0; try < 100; try++)); do
        over_ssh true 2> /dev/null && return
        sleep 0.1
    done
    cat "$dir/sshd.log" >&2
    exit 1
}
over_ssh() {
    ssh -F none -c aes128-gcm@openssh.com -p "$ssh_port" -i "$dir/user" -o UserKnownHostsFile="$dir/known_hosts" \
        -o BatchMode=yes 127.0.0.1 "$@"
}

# A network hop: who listens is started first and waited for.
hop() { # hop RECEIVE SEND [STREAM]
    eval "$1" | "$flow" sink &
    local receiver=$!
    "${3:-wide}" | eval "$2"
    wait $receiver
}
wide() { "$flow" source "$stream" "$times" wide; }
narrow() { "$flow" source "$stream" "$times"; }
plain_bare() { hop "'$flow' receive bare $port" "'$flow' send bare 127.0.0.1:$port"; }
plain_splice() { hop "'$flow' receive plain $port" "'$flow' send plain 127.0.0.1:$port"; }
plain_frames() { hop "'$flow' receive off $port" "'$flow' send off 127.0.0.1:$port"; }
plain_mbuffer() { hop "'$mbuffer' -q -s 128k -m 256M -I $port" "'$pv' -q | { sleep 0.1; '$mbuffer' -q -s 128k -m 256M -O 127.0.0.1:$port; }" narrow; }
connections_1() { hop "'$flow' receive off $port 1" "'$flow' send off 127.0.0.1:$port 1"; }
connections_2() { hop "'$flow' receive off $port 2" "'$flow' send off 127.0.0.1:$port 2"; }
connections_4() { hop "'$flow' receive off $port 4" "'$flow' send off 127.0.0.1:$port 4"; }
crypted() { mkdir -p "$dir/exchange"; hop "'$flow' receive $1 $dir/exchange $2" "'$flow' send $1 $dir/exchange $2"; }
tls_1() { crypted tls 1; }
tls_2() { crypted tls 2; }
tls_4() { crypted tls 4; }
tcp_1() { crypted tcp 1; }
tcp_2() { crypted tcp 2; }
tls_ssh_mbuffer() {
    narrow | "$pv" -q | "$mbuffer" -q -s 128k -m 256M | over_ssh "'$mbuffer' -q -s 128k -m 256M | FLOW_ZFS='$FLOW_ZFS' '$flow' sink"
}
zstd_1_zhaul() { wide | "$flow" send zstd:1 | "$flow" receive zstd:1 | "$flow" sink; }
zstd_1_tool() { narrow | "$zstd" -q -T2 -1 -c | "$zstd" -q -dc | "$flow" sink; }
zstd_3_zhaul() { wide | "$flow" send zstd:3 | "$flow" receive zstd:3 | "$flow" sink; }
zstd_3_tool() { narrow | "$zstd" -q -T2 -3 -c | "$zstd" -q -dc | "$flow" sink; }
auto() { hop "'$flow' receive $1 $port" "'$flow' send $1 127.0.0.1:$port"; }
auto_auto() { auto auto; }
auto_off() { auto off; }
auto_lz4() { auto lz4; }
auto_zstd1() { auto zstd:1; }
auto_zstd3() { auto zstd:3; }
auto_zstd6() { auto zstd:6; }
auto_zstd9() { auto zstd:9; }

ways() {
    case $1 in
        plain) echo "plain_mbuffer plain_frames plain_splice plain_bare" ;;
        connections) echo "connections_1 connections_2 connections_4" ;;
        tls) echo "tls_ssh_mbuffer tls_1 tls_2 tls_4 tcp_1 tcp_2" ;;
        zstd) echo "zstd_1_tool zstd_1_zhaul zstd_3_tool zstd_3_zhaul" ;;
        auto) echo "auto_off auto_auto auto_lz4 auto_zstd1 auto_zstd3 auto_zstd6 auto_zstd9" ;;
    esac
}

if [ -n "${LINK:-}" ]; then
    # In a network of its own, so that no other program is slowed down.
    if [ -z "${IN_NETWORK:-}" ]; then
        IN_NETWORK=1 FLOW=$flow exec unshare -n "$0" "$stream" "$rounds" $what
    fi
    ip link set lo up
    tc qdisc add dev lo root tbf rate "$LINK" burst 256kb latency 50ms
else
    [ -z "${IN_NETWORK:-}" ] || ip link set lo up
fi

case " $what " in *" tls "*) start_sshd ;; esac

if [ "$what" = rate ]; then
    for ((round = 0; round < rounds; round++)); do "$flow" rate 50; done
    exit
fi
if [ "$what" = memory ]; then
    # At least 10 GiB of the stream, into a reader that at first takes nothing: what each end comes to take of memory.
    for way in off auto; do
        for ((sent = 0; sent < 10 << 30; sent += bytes)); do wide; done | FLOW_PEAK=1 "$flow" send $way | FLOW_PEAK=1 "$flow" receive $way |
            { sleep 5; "$flow" sink; }
    done
    exit
fi

for ((round = 0; round < rounds; round++)); do
    for group in $what; do
        for way in $(ways "$group"); do one "$group" "$way"; done
    done
done

awk -v bytes="$bytes" '
    function median(list,   n, v, i, j, t) {
        n = split(list, v, " ")
        for (i = 2; i <= n; i++) for (j = i; j > 1 && v[j] + 0 < v[j - 1] + 0; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
        return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
    }
    { if (!($2 in wall)) { order[++count] = $2; group[$2] = $1 } wall[$2] = wall[$2] " " $3; cpu[$2] = cpu[$2] " " ($4 + $5 + $7 - $6); own[$2] = own[$2] " " ($4 + $5 + $7 - $6 - $8) }
    END {
        gib = bytes / 1073741824
        printf "%-16s %7s %7s %9s %9s   %s\n", "way", "wall s", "MiB/s", "CPU s/GiB", "less ZFS", "of the first of its group: throughput, CPU, less ZFS"
        for (i = 1; i <= count; i++) {
            way = order[i]; w = median(wall[way]); c = median(cpu[way]); o = median(own[way])
            if (group[way] != last) { last = group[way]; w0 = w; c0 = c; o0 = o }
            printf "%-16s %7.2f %7.0f %9.2f %9.2f   %6.2f %6.2f %6.2f\n", way, w, gib * 1024 / w, c / gib, o / gib, w0 / w, c / c0, o / o0
        }
    }' "$rows"

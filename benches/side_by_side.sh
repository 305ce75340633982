#!/bin/bash
# zhaul's data path beside the pipelines that users have, in alternating rounds; prints medians and ratios.
#
#   benches/side_by_side.sh STREAM [ROUNDS] [WHAT...]
#
# STREAM is a recorded `zfs send`, WHAT is some of: plain zstd auto lanes (all). Both ends run on this machine, over
# loopback or a pipe. Every way gets the same `cat STREAM` for a kernel that sends and the same reader for one that
# receives; CPU is that of all processes, these two included. `flow` is built by `cargo bench --bench flow --no-run`, or
# given as $FLOW; tools may be given as $PV, $MBUFFER, $ZSTD. LINK=100mbit (root only) slows the loopback down.
set -euo pipefail
stream=$1 rounds=${2:-5}
shift; shift || true
what=${*:-plain zstd auto lanes}
pv=${PV:-pv} mbuffer=${MBUFFER:-mbuffer} zstd=${ZSTD:-zstd}
if [ -z "${FLOW:-}" ]; then
    FLOW=$(cargo bench --bench flow --no-run --message-format=json 2>/dev/null | grep -o '"executable":"[^"]*flow-[^"]*"' | cut -d'"' -f4)
fi
flow=$FLOW
port=45117
bytes=$(stat -c %s "$stream")
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT
TIMEFORMAT='%R %U %S'

# Reading it once puts it into the cache for all.
cat "$stream" > /dev/null

one() { # one GROUP WAY: runs the function of that name once
    local group=$1 way=$2 times
    times=$({ time "$way" >/dev/null 2>"$rows.errors"; } 2>&1) || { echo "$way failed: $(cat "$rows.errors" "$rows" | head -5)" >&2; return; }
    echo "$group $way $times" >> "$rows"
    rm -f "$rows.errors"
}

# A network hop: who listens is started first and waited for.
hop() { # hop RECEIVE SEND
    eval "$1" | "$flow" sink &
    local receiver=$!
    cat "$stream" | eval "$2"
    wait $receiver
}
plain_bare() { hop "'$flow' receive bare $port" "'$flow' send bare 127.0.0.1:$port"; }
plain_zhaul() { hop "'$flow' receive plain $port" "'$flow' send plain 127.0.0.1:$port"; }
plain_frames() { hop "'$flow' receive off $port" "'$flow' send off 127.0.0.1:$port"; }
plain_mbuffer() { hop "'$mbuffer' -q -s 128k -m 256M -I $port" "'$pv' -q | { sleep 0.1; '$mbuffer' -q -s 128k -m 256M -O 127.0.0.1:$port; }"; }
lanes_1() { hop "'$flow' receive off $port 1" "'$flow' send off 127.0.0.1:$port 1"; }
lanes_2() { hop "'$flow' receive off $port 2" "'$flow' send off 127.0.0.1:$port 2"; }
lanes_4() { hop "'$flow' receive off $port 4" "'$flow' send off 127.0.0.1:$port 4"; }
zstd_1_zhaul() { cat "$stream" | "$flow" send zstd:1 | "$flow" receive zstd:1 | "$flow" sink; }
zstd_1_tool() { cat "$stream" | "$zstd" -q -T2 -1 -c | "$zstd" -q -dc | "$flow" sink; }
zstd_3_zhaul() { cat "$stream" | "$flow" send zstd:3 | "$flow" receive zstd:3 | "$flow" sink; }
zstd_3_tool() { cat "$stream" | "$zstd" -q -T2 -3 -c | "$zstd" -q -dc | "$flow" sink; }
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
        plain) echo "plain_zhaul plain_bare plain_mbuffer plain_frames" ;;
        lanes) echo "lanes_1 lanes_2 lanes_4" ;;
        zstd) echo "zstd_1_zhaul zstd_1_tool zstd_3_zhaul zstd_3_tool" ;;
        auto) echo "auto_auto auto_off auto_lz4 auto_zstd1 auto_zstd3 auto_zstd6 auto_zstd9" ;;
    esac
}

if [ -n "${LINK:-}" ]; then
    # In a network of its own, so that nobody else is slowed down.
    if [ -z "${IN_NETWORK:-}" ]; then
        IN_NETWORK=1 FLOW=$flow exec unshare -n "$0" "$stream" "$rounds" $what
    fi
    ip link set lo up
    tc qdisc add dev lo root tbf rate "$LINK" burst 256kb latency 50ms
else
    [ -z "${IN_NETWORK:-}" ] || ip link set lo up
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
    { if (!($2 in wall)) { order[++count] = $2; group[$2] = $1 } wall[$2] = wall[$2] " " $3; cpu[$2] = cpu[$2] " " ($4 + $5) }
    END {
        gib = bytes / 1073741824
        printf "%-16s %9s %9s %12s   %s\n", "way", "wall s", "MiB/s", "CPU s/GiB", "of the first of its group: throughput, CPU"
        for (i = 1; i <= count; i++) {
            way = order[i]; w = median(wall[way]); c = median(cpu[way])
            if (group[way] != last) { last = group[way]; w0 = w; c0 = c }
            printf "%-16s %9.2f %9.0f %12.2f   %6.2f %6.2f\n", way, w, gib * 1024 / w, c / gib, w0 / w, c / c0
        }
    }' "$rows"

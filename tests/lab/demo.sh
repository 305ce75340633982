# What `cargo lab demo` shows, run by bash on pve0 of a fresh lab.
set -e
zfs version
for host in pve0 nfs8 nfs9; do
    echo "--- $host"
    ssh "$host" 'hostname; ip -brief address show eth0'
done
echo '--- ssh nfs8 zfs list'
ssh nfs8 zfs list

//! Storages as Proxmox VE writes them.

use proptest::prelude::*;

use super::*;

fn mapped(text: &str) -> Vec<String> {
    parse(text, "pve0").into_iter().map(|storage| format!("{}={}", storage.id, storage.dataset)).collect()
}

#[test]
fn pools_of_this_node_are_found_and_nothing_else() {
    let text = "dir: local\n\tpath /var/lib/vz\n\tcontent iso\n\n\
            # a comment\n\
            zfspool: local-zfs\n\tpool rpool/data\n\t# pool rpool/other\n\tcontent images,rootdir\n\tsparse 1\n\tnewword x y\n\n\
            zfspool: second\n    pool  rpool/data  \n\n\
            lvmthin: local-lvm\n\tthinpool data\n\tvgname pve\n\n\
            zfs: iscsi\n\tpool tank\n\tportal 10.0.0.1\n\ttarget iqn\n\n\
            zfspool: off\n\tpool tank/off\n\tdisable\n\n\
            zfspool: off1\n\tpool tank/off\n\tdisable 1\n\n\
            zfspool: on\n\tpool tank/on\n\tdisable 0\n\n\
            zfspool: elsewhere\n\tpool tank/elsewhere\n\tnodes pve1,pve2\n\n\
            zfspool: here\n\tpool tank/here\n\tnodes pve1,pve0\n\n\
            ZFSPOOL: case\n\tpool tank/case\n";
    let expected =
        ["case=tank/case", "here=tank/here", "local-zfs=rpool/data", "on=tank/on", "second=rpool/data"];
    assert_eq!(mapped(text), expected);
}

#[test]
fn what_is_not_clear_maps_nothing() {
    for text in [
        "",
        "zfspool: a",
        "zfspool: a\n\tpool\n",
        "zfspool: a\n\tpool -bad\n",
        "zfspool: a\n\tpool tank/@x\n",
        "zfspool: a\n\tpool tank/a\n\tpool tank/b\n",
        "zfspool: a\n\tpool tank/a\n\nzfspool: a\n\tpool tank/b\n",
        "zfspool: a\n\tpool tank/a\n\ndir: a\n\tpath /x\n",
        "zfspool: a\n\n\tpool tank/a\n",
        "zfspool: a\npool tank/a\n",
        "zfspool a\n\tpool tank/a\n",
        "zfspool: a b\n\tpool tank/a\n",
        "zfspool:\n\tpool tank/a\n",
        " zfspool: a\n\tpool tank/a\n",
        "zfspool: a\n\tpool tank/a\n\tnodes\n",
        "zfspool: a\n\tpool tank/a\n\tnodes pve01\n",
        "zfspool: a\n\tpool tank/a\n\tnodes pve0\n\tnodes pve1\n",
        "zfspool: a\n\tpool tank/a\n\tdisable yes\n",
        "\u{0}\u{0}\n[x]\n:::\n\tpool tank\n",
    ] {
        assert_eq!(mapped(text), Vec::<String>::new(), "{text:?}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "(zfspool: a|\tpool tank|\n|nodes|,| |:|#|\\PC){0,40}") {
        for storage in parse(&text, "pve0") {
            prop_assert!(!storage.id.is_empty());
        }
    }
}

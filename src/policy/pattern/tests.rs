//! What a pattern of `exclude` matches.

use proptest::prelude::*;

use super::*;

fn matches(pattern: &str, name: &str) -> bool {
    Pattern::new(pattern).unwrap().matches(&DatasetName::new(name).unwrap())
}

#[test]
fn wildcards_stay_within_their_parts() {
    for (pattern, name, expected) in [
        ("rpool/data/vm-9*", "rpool/data/vm-900-disk-0", true),
        ("rpool/data/vm-9*", "rpool/data/vm-100-disk-9", false),
        ("rpool/data/vm-9*", "rpool/data/sub/vm-900-disk-0", false),
        ("rpool/data/*-disk-?", "rpool/data/vm-100-disk-0", true),
        ("rpool/data/*-disk-?", "rpool/data/vm-100-disk-10", false),
        ("rpool/*a*b*c", "rpool/xaxbxcxc", true),
        ("rpool/*a*b*c", "rpool/xaxbxcx", false),
        ("rpool/data", "rpool/data", true),
        ("rpool/data", "rpool/data2", false),
        ("rpool/data", "rpool", false),
        // Datasets below it are left out, too.
        ("rpool/data/tmp", "rpool/data/tmp/a/b", true),
        ("rpool/*", "rpool/data/tmp", true),
        ("rpool/*", "rpool", false),
        ("rpool/**/tmp", "rpool/tmp", true),
        ("rpool/**/tmp", "rpool/a/b/tmp/c", true),
        ("rpool/**/tmp", "rpool/a/tmpx", false),
        ("**/tmp", "tank/a/tmp", true),
        ("**", "tank", true),
        ("*", "tank/x", true),
    ] {
        assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
    }
}

#[test]
fn what_could_never_match_is_refused() {
    for bad in [
        "",
        "/",
        "rpool/",
        "rpool//x",
        "rpool/vm-**",
        "rpool/[ab]",
        "rpool/{a,b}",
        "rpool/a@b",
        "rpool/ä",
        "!rpool",
    ] {
        let error = Pattern::new(bad).unwrap_err().to_string();
        assert!(error.contains(bad), "{error}");
    }
    assert!(Pattern::new(&"*".repeat(300)).is_err());
}

proptest! {
    #[test]
    fn a_pattern_without_wildcards_matches_itself_and_below(name in "[a-z]{1,3}(/[a-z0-9:_]{1,4}){0,4}", below in "[a-z]{1,3}") {
        prop_assert!(matches(&name, &name));
        let child = format!("{name}/{below}");
        prop_assert!(matches(&name, &child));
        prop_assert!(!matches(&child, &name));
    }

    #[test]
    fn patterns_and_names_never_panic_and_end(pattern in "[a-b*?/]{0,60}", name in "a[a-b/]{0,60}") {
        if let (Ok(pattern), Ok(name)) = (Pattern::new(&pattern), DatasetName::new(&name))
            && let Some(parent) = name.parent().filter(|parent| pattern.matches(parent))
        {
                prop_assert!(pattern.matches(&name), "{parent}");
        }
    }
}

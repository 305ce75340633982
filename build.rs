//! Makes zhaul link where OpenZFS is not installed, and start where it is not either.
//!
//! The crates that declare `libzfs_core`'s and `libnvpair`'s functions ask the linker for both libraries. This script
//! answers twice from the symbol lists in `vendor/openzfs/`: empty archives satisfy `-lzfs_core -lnvpair -lzfs`, and a
//! generated Rust file defines every listed function as a jump through a slot, which `src/zfs/library.rs` fills from the
//! real libraries at run time. `vendor/openzfs/README.md` says why.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// The symbol lists, and the name of each library's constant in the generated file.
const LISTS: [(&str, &str); 2] = [("libzfs_core", "Core"), ("libnvpair", "Nvpair")];

/// What the dependencies' `-l` flags ask for.
const ARCHIVES: [&str; 3] = ["libzfs_core.a", "libnvpair.a", "libzfs.a"];

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(cargo("OUT_DIR")?);
    let vendor = PathBuf::from(cargo("CARGO_MANIFEST_DIR")?).join("vendor/openzfs");
    println!("cargo::rerun-if-changed=build.rs");

    let mut symbols = Vec::new();
    for (library, origin) in LISTS {
        let list = vendor.join(library).with_extension("symbols");
        println!("cargo::rerun-if-changed={}", list.display());
        symbols.extend(read_list(&list)?.into_iter().map(|symbol| (origin, symbol)));
    }

    let arch = cargo("CARGO_CFG_TARGET_ARCH")?;
    let os = cargo("CARGO_CFG_TARGET_OS")?;
    let generated = match (os.as_str(), arch.as_str()) {
        ("linux", "x86_64" | "aarch64") => trampolines(&arch, &symbols)?,
        _ => {
            return Err(format!(
                "zhaul runs on Linux, x86_64 or aarch64, not on {os}, {arch}: build.rs has no jump code for it"
            )
            .into());
        }
    };
    fs::write(out.join("trampolines.rs"), generated)?;

    for archive in ARCHIVES {
        fs::write(out.join(archive), b"!<arch>\n")?;
    }
    println!("cargo::rustc-link-search=native={}", out.display());
    Ok(())
}

/// What cargo tells its build scripts.
fn cargo(variable: &str) -> Result<String, Box<dyn Error>> {
    let value = env::var_os(variable).ok_or_else(|| format!("cargo does not set {variable}"))?;
    Ok(value.into_string().map_err(|_| format!("{variable} is not UTF-8"))?)
}

/// The first word of every line that is not a comment; a line without its second word, the release, is an error.
fn read_list(path: &Path) -> Result<Vec<String>, Box<dyn Error>> {
    let text = fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let mut symbols = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(' ') {
            Some((symbol, release)) if is_symbol(symbol) && !release.is_empty() => {
                symbols.push(symbol.to_owned());
            }
            _ => return Err(format!("{}:{number}: expected \"symbol release\"", path.display()).into()),
        }
    }
    Ok(symbols)
}

fn is_symbol(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The generated file: the jumps in assembly, the table of slots, and the names in the same order.
fn trampolines(arch: &str, symbols: &[(&str, String)]) -> Result<String, std::fmt::Error> {
    let mut text = String::from("core::arch::global_asm!(r#\"\n");
    // A slot that nobody filled leads here: an abort is better than a jump to nowhere.
    text += ".pushsection .text.zhaul_zfs_unloaded,\"ax\",@progbits\n.p2align 4\nzhaul_zfs_unloaded:\n";
    text += if arch == "x86_64" { "    jmp abort@PLT\n" } else { "    b abort\n" };
    text += ".popsection\n";
    text += ".pushsection .data.zhaul_zfs_slots,\"aw\",@progbits\n.p2align 3\n";
    text +=
        ".globl zhaul_zfs_slots\n.hidden zhaul_zfs_slots\n.type zhaul_zfs_slots,@object\nzhaul_zfs_slots:\n";
    for _ in symbols {
        text += "    .quad zhaul_zfs_unloaded\n";
    }
    writeln!(text, ".size zhaul_zfs_slots,{}\n.popsection", symbols.len() * 8)?;
    for ((_, symbol), offset) in symbols.iter().zip((0..).step_by(8)) {
        writeln!(
            text,
            ".pushsection .text.{symbol},\"ax\",@progbits\n.p2align 4\n.globl {symbol}\n.hidden {symbol}\n\
             .type {symbol},@function\n{symbol}:"
        )?;
        if arch == "x86_64" {
            writeln!(text, "    jmp *zhaul_zfs_slots+{offset}(%rip)")?;
        } else {
            writeln!(text, "    adrp x16, zhaul_zfs_slots+{offset}")?;
            writeln!(text, "    ldr x16, [x16, :lo12:zhaul_zfs_slots+{offset}]\n    br x16")?;
        }
        writeln!(text, ".size {symbol},.-{symbol}\n.popsection")?;
    }
    text += if arch == "x86_64" { "\"#, options(att_syntax, raw));\n\n" } else { "\"#, options(raw));\n\n" };

    let count = symbols.len();
    writeln!(text, "/// Where each slot's function comes from, in the order of the slots.")?;
    writeln!(text, "pub(super) const SYMBOLS: [(Origin, &CStr); {count}] = [")?;
    for (origin, symbol) in symbols {
        writeln!(text, "    (Origin::{origin}, c\"{symbol}\"),")?;
    }
    writeln!(text, "];\n")?;
    writeln!(text, "// SAFETY: the assembly above defines exactly {count} pointers under this name.")?;
    writeln!(text, "unsafe extern \"C\" {{\n    #[link_name = \"zhaul_zfs_slots\"]")?;
    writeln!(text, "    pub(super) safe static SLOTS: [AtomicPtr<c_void>; {count}];\n}}")?;
    Ok(text)
}

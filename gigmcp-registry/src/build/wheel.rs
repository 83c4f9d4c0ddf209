//! Wheels, unpacked, and the programs they name.
//!
//! Source: PyPA specifications, binary distribution format and entry points.

use std::io::{Cursor, Read};

use zip::ZipArchive;

use super::archive::LARGEST_BYTES;
use super::python::normalized;
use super::tree::{FileMode, Tree, TreeError};

/// Adds what is in a wheel: packages at `site`, without a leading `/`, programs in `/usr/local/bin`. Nothing of it is run, and
/// nothing is compiled; `RECORD` stays as the wheel has it. Gives the packages that it cannot do without, normalized.
pub(super) fn unpack(tree: &mut Tree, packed: Vec<u8>, site: &str) -> Result<Vec<String>, WheelFault> {
    let mut archive = ZipArchive::new(Cursor::new(packed)).map_err(|_| WheelFault::Damaged)?;
    let mut left = LARGEST_BYTES;
    let (mut entry_points, mut needed) = (None, Vec::new());
    for index in 0..archive.len() {
        let mut file = archive.by_index(index).map_err(|_| WheelFault::Damaged)?;
        let path = str::from_utf8(file.name_raw()).map_err(|_| WheelFault::Damaged)?.to_owned();
        let mode = file.unix_mode().unwrap_or(0o644);
        if path.ends_with('/') {
            continue;
        }
        // Of the mode, the kind of file: none said, or a regular one.
        if !matches!(mode & 0o170_000, 0 | 0o100_000) {
            return Err(WheelFault::Special { path });
        }
        let mut content = Vec::new();
        file.by_ref().take(left + 1).read_to_end(&mut content).map_err(|_| WheelFault::Damaged)?;
        left = left.checked_sub(content.len() as u64).ok_or(WheelFault::TooLarge)?;
        if path.ends_with(".dist-info/entry_points.txt") && path.matches('/').count() == 1 {
            entry_points = Some(String::from_utf8_lossy(&content).into_owned());
        }
        if path.ends_with(".dist-info/METADATA") && path.matches('/').count() == 1 {
            needed = unconditional(&String::from_utf8_lossy(&content));
        }
        let mode = if mode & 0o111 == 0 { FileMode::Data } else { FileMode::Executable };
        place(tree, &path, content, mode, site)?;
    }
    for (name, module, function) in entry_points.iter().flat_map(|text| console_scripts(text)) {
        tree.file(&format!("usr/local/bin/{name}"), launcher(module, function), FileMode::Executable)?;
    }
    Ok(needed)
}

/// `Requires-Dist` in the head of `METADATA`; what has a condition is not judged.
fn unconditional(metadata: &str) -> Vec<String> {
    let head = metadata.lines().take_while(|line| !line.is_empty());
    let required = head.filter_map(|line| line.strip_prefix("Requires-Dist:")).filter(|one| !one.contains(';'));
    let is_word = |char: char| char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.');
    let name = |one: &str| {
        let one = one.trim();
        normalized(&one[..one.find(|char| !is_word(char)).unwrap_or(one.len())])
    };
    required.map(name).collect()
}

fn place(tree: &mut Tree, path: &str, content: Vec<u8>, mode: FileMode, site: &str) -> Result<(), WheelFault> {
    let compiled = path.ends_with(".pyc") || path.split('/').any(|part| part == "__pycache__");
    let data =
        path.split_once('/').filter(|(first, _)| first.ends_with(".data")).and_then(|(_, rest)| rest.split_once('/'));
    let (path, content, mode) = match data {
        _ if compiled => return Ok(()),
        None => (format!("{site}/{path}"), content, mode),
        Some(("purelib" | "platlib", rest)) => (format!("{site}/{rest}"), content, mode),
        Some(("scripts", rest)) => (format!("usr/local/bin/{rest}"), with_interpreter(content), FileMode::Executable),
        Some(("data", rest)) => (format!("usr/local/{rest}"), content, mode),
        // For compiling against.
        Some(("headers", _)) => return Ok(()),
        Some(_) => return Err(WheelFault::Special { path: path.to_owned() }),
    };
    Ok(tree.file(&path, content, mode)?)
}

/// A script begins with `#!python`, which stands for the interpreter's place.
fn with_interpreter(content: Vec<u8>) -> Vec<u8> {
    let end = content.iter().position(|byte| *byte == b'\n').unwrap_or(content.len());
    if content.starts_with(b"#!python") { [INTERPRETER.as_bytes(), &content[end..]].concat() } else { content }
}

/// `name = module:function` in the section `console_scripts`; what is no such line is no program.
fn console_scripts(text: &str) -> Vec<(&str, &str, &str)> {
    let mut section = "";
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.trim();
        } else if section == "console_scripts"
            && let Some((name, object)) = line.split_once('=')
            && let Some((module, function)) = object.split('[').next().unwrap_or_default().split_once(':')
        {
            let parts = (name.trim(), module.trim(), function.trim());
            let is_name = |text: &str, others: &[u8]| {
                let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || others.contains(&byte);
                !text.is_empty() && !text.starts_with('.') && text.bytes().all(allowed)
            };
            if is_name(parts.0, b"-.") && is_name(parts.1, b".") && is_name(parts.2, b".") {
                found.push(parts);
            }
        }
    }
    found
}

fn launcher(module: &str, function: &str) -> String {
    let first = function.split('.').next().unwrap_or(function);
    format!("{INTERPRETER}\nimport sys\nfrom {module} import {first}\nsys.exit({function}())\n")
}

const INTERPRETER: &str = "#!/usr/bin/python3";

/// Why a wheel was not unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum WheelFault {
    #[error("it is damaged, encrypted, or compressed in a way that wheels are not")]
    Damaged,
    #[error("it unpacks to more than 1 GiB")]
    TooLarge,
    #[error("{path:?} in it is no regular file, or has no place")]
    Special { path: String },
    #[error(transparent)]
    Place(#[from] TreeError),
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;

    fn wheel(files: &[(&str, &str)]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (path, text) in files {
            match path.strip_prefix("LINK ") {
                Some(path) => zip.add_symlink(path, *text, SimpleFileOptions::default()).expect("a vector"),
                None => {
                    zip.start_file(*path, SimpleFileOptions::default()).expect("a vector");
                    zip.write_all(text.as_bytes()).expect("a vector");
                }
            }
        }
        zip.finish().expect("a vector").into_inner()
    }

    #[test]
    fn a_wheel_is_packages_and_programs() {
        let mut tree = Tree::new();
        let files = [
            ("a/__init__.py", ""),
            ("a/__pycache__/x.cpython-311.pyc", "compiled"),
            (
                "a-1.dist-info/METADATA",
                "Name: a\nRequires-Dist: B_c[x]>=1\nRequires-Dist: d; extra == 'x'\nRequires-Dist: e (>=2)\n\nRequires-Dist: f\n",
            ),
            ("a-1.data/scripts/run", "#!python\nprint()"),
            ("a-1.data/purelib/b.py", "b"),
            ("a-1.data/data/share/a.txt", "c"),
            (
                "a-1.dist-info/entry_points.txt",
                "[console_scripts]\na = a.main:run.it [extra]\n../b = a:b\n[other]\nc = a:c\n",
            ),
        ];
        assert_eq!(unpack(&mut tree, wheel(&files), "site").expect("a wheel"), ["b-c", "e"]);
        let found: Vec<_> = tree.paths().filter(|path| tree.content(path).is_some()).collect();
        assert_eq!(
            found,
            [
                "site/a-1.dist-info/METADATA",
                "site/a-1.dist-info/entry_points.txt",
                "site/a/__init__.py",
                "site/b.py",
                "usr/local/bin/a",
                "usr/local/bin/run",
                "usr/local/share/a.txt"
            ]
        );
        assert_eq!(tree.content("usr/local/bin/run"), Some(&b"#!/usr/bin/python3\nprint()"[..]));
        let launcher = "#!/usr/bin/python3\nimport sys\nfrom a.main import run\nsys.exit(run.it())\n";
        assert_eq!(tree.content("usr/local/bin/a"), Some(launcher.as_bytes()));
        assert!(tree.has_program("usr/local/bin/a"));
    }

    #[test]
    fn what_leaves_its_place_is_refused() {
        for (case, path, says) in [
            ("up", "../a.py", "no path of an image"),
            ("up from a program", "a-1.data/scripts/../../../etc/a", "no path of an image"),
            ("absolute", "/etc//a.py", "no path of an image"),
            ("a symlink", "LINK a/b", "no regular file"),
            ("elsewhere", "a-1.data/elsewhere/a", "has no place"),
        ] {
            let done =
                unpack(&mut Tree::new(), wheel(&[(path, "/etc/passwd")]), "site").map_err(|fault| fault.to_string());
            assert!(done.as_ref().is_err_and(|said| said.contains(says)), "{case}: {done:?}");
        }
        unpack(&mut Tree::new(), wheel(&[("a/b", "/etc/passwd")]), "site").expect("a file of that name");
        let whole = wheel(&[("a.py", "text")]);
        assert!(matches!(
            unpack(&mut Tree::new(), whole[..whole.len() - 9].to_vec(), "site"),
            Err(WheelFault::Damaged)
        ));
    }
}

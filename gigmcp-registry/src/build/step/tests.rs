use super::*;
use crate::build::python::Interpreter;
use crate::oci::Platform;

#[test]
fn a_file_is_chosen_by_its_hash() {
    let hash = |digit: &str| digit.repeat(64);
    let page = |files: &[(&str, &str)]| Page {
        files: files
            .iter()
            .map(|(filename, digit)| File {
                filename: (*filename).to_owned(),
                url: format!("https://files.pythonhosted.org/{filename}#sha256=x"),
                hashes: Hashes { sha256: Some(hash(digit)) },
            })
            .collect(),
    };
    let wanted =
        Requirement { name: "a-b".to_owned(), version: "1.0".to_owned(), hashes: [hash("1"), hash("2")].into() };
    let wheels = Wheels {
        index: "https://pypi.org/simple/".to_owned(),
        requirements: vec![wanted.clone()],
        interpreter: Interpreter::new(11, 36, Platform::Amd64),
    };
    for (case, files, expected) in [
        ("one", &[("a_b-1.0-py3-none-any.whl", "1")][..], Ok("a_b-1.0-py3-none-any.whl")),
        (
            "the better one",
            &[("a_b-1.0-py3-none-any.whl", "1"), ("a_b-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", "2")],
            Ok("a_b-1.0-cp311-cp311-manylinux_2_17_x86_64.whl"),
        ),
        (
            "the better one is not meant",
            &[("a_b-1.0-py3-none-any.whl", "1"), ("a_b-1.0-cp311-cp311-manylinux_2_17_x86_64.whl", "3")],
            Ok("a_b-1.0-py3-none-any.whl"),
        ),
        ("another hash", &[("a_b-1.0-py3-none-any.whl", "3")], Err("has no file with one of the hashes")),
        ("source", &[("a_b-1.0.tar.gz", "1")], Err("source only (a_b-1.0.tar.gz)")),
        ("another machine", &[("a_b-1.0-cp311-cp311-win_amd64.whl", "1")], Err("no wheel for this interpreter")),
        ("another package", &[("c-1.0-py3-none-any.whl", "1")], Err("no wheel for this interpreter")),
        ("another version", &[("a_b-2.0-py3-none-any.whl", "1")], Err("no wheel for this interpreter")),
    ] {
        let found = choose(page(files), "https://pypi.org/simple/a-b/", &wheels, &wanted);
        match (found, expected) {
            (Ok((url, _)), Ok(name)) => assert_eq!(url, format!("https://files.pythonhosted.org/{name}"), "{case}"),
            (Err(fault), Err(says)) => assert!(fault.to_string().contains(says), "{case}: {fault}"),
            (found, _) => panic!("{case}: {found:?}"),
        }
    }
    assert_eq!(
        absolute("/packages/a.whl", "https://pypi.corp.example/simple/a/"),
        "https://pypi.corp.example/packages/a.whl"
    );
}

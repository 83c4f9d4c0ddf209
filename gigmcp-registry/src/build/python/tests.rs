use super::*;

#[test]
fn requirements_have_versions_and_hashes() {
    use RequirementFault as F;
    let (one, two) = ("1".repeat(64), "2".repeat(64));
    let text = |text: &str| text.to_owned();
    for (case, line, expected) in [
        ("one hash", format!("Foo.Bar==1.0 --hash=sha256:{one}"), Ok("foo-bar 1.0 1")),
        (
            "two lines",
            format!("foo[cli]==1.0 \\\n    --hash=sha256:{one} \\\n    --hash=sha256:{two}\n    # via bar"),
            Ok("foo 1.0 2"),
        ),
        ("an option that holds", format!("--require-hashes\nfoo==1 --hash=sha256:{one}"), Ok("foo 1 1")),
        ("no hash", text("foo==1.0"), Err(F::NoHash { name: text("foo") })),
        ("MD5", text("foo==1.0 --hash=md5:00"), Err(F::Hash { text: text("--hash=md5:00") })),
        ("half a hash", text("foo==1.0 --hash=sha256:00"), Err(F::Hash { text: text("--hash=sha256:00") })),
        ("a range", format!("foo>=1.0 --hash=sha256:{one}"), Err(F::Inexact { text: text("foo>=1.0") })),
        ("any", format!("foo==1.* --hash=sha256:{one}"), Err(F::Inexact { text: text("foo==1.*") })),
        (
            "an address",
            format!("foo @ https://evil.example/foo.whl --hash=sha256:{one}"),
            Err(F::Source { text: text("foo @ https://evil.example/foo.whl") }),
        ),
        ("git", text("git+https://evil.example/foo"), Err(F::Source { text: text("git+https://evil.example/foo") })),
        ("a path", text("./foo"), Err(F::Source { text: text("./foo") })),
        ("editable", text("-e ."), Err(F::Option { option: text("-e .") })),
        (
            "an index",
            text("--index-url https://evil.example"),
            Err(F::Option { option: text("--index-url https://evil.example") }),
        ),
        ("another file", text("-r other.txt"), Err(F::Option { option: text("-r other.txt") })),
        (
            "a condition",
            format!("foo==1 ; python_version < '3' --hash=sha256:{one}"),
            Err(F::Condition { text: text("foo==1 ; python_version < '3'") }),
        ),
        (
            "twice",
            format!("foo==1 --hash=sha256:{one}\nFOO==2 --hash=sha256:{two}"),
            Err(F::Twice { name: text("foo") }),
        ),
    ] {
        let found = Requirements::parse(&line);
        let found = found.map(|all| {
            let one = |one: &Requirement| format!("{} {} {}", one.name, one.version, one.hashes.len());
            all.0.iter().map(one).collect::<Vec<_>>().join(", ")
        });
        assert_eq!(found.map_err(|invalid| invalid.0[0].1.clone()), expected.map(str::to_owned), "{case}");
    }
}

#[test]
fn the_wheel_that_suits_best_is_taken() {
    let interpreter = Interpreter::new(11, 36, Platform::Amd64);
    let in_order = [
        "a-1-cp311-cp311-manylinux_2_36_x86_64.whl",
        "a-1-cp311-cp311-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
        "a-1-cp311-cp311-manylinux1_x86_64.whl",
        "a-1-cp311-abi3-manylinux_2_28_x86_64.whl",
        "a-1-cp39-abi3-manylinux_2_28_x86_64.whl",
        "a-1-cp311-none-any.whl",
        "a-1-py3-none-manylinux_2_17_x86_64.whl",
        "a-1-2build-py2.py3-none-any.whl",
    ];
    let rank = |file: &str| interpreter.rank(&WheelTags::parse(file).expect("a wheel"));
    let ranks: Vec<_> = in_order.iter().map(|file| rank(file).expect(file)).collect();
    assert!(ranks.is_sorted() && ranks.windows(2).all(|pair| pair[0] < pair[1]), "{ranks:?}");
    for file in [
        "a-1-cp312-cp312-manylinux_2_17_x86_64.whl",
        "a-1-cp311-cp311-manylinux_2_39_x86_64.whl",
        "a-1-cp311-cp311-manylinux_2_17_aarch64.whl",
        "a-1-cp311-cp311-musllinux_1_2_x86_64.whl",
        "a-1-cp311-cp311-macosx_11_0_arm64.whl",
        "a-1-cp312-abi3-manylinux_2_17_x86_64.whl",
        "a-1-cp313-cp313t-manylinux_2_17_x86_64.whl",
        "a-1-py2-none-any.whl",
    ] {
        assert_eq!(rank(file), None, "{file}");
    }
    assert_eq!(WheelTags::parse("a-1.tar.gz"), None);
    assert_eq!(WheelTags::parse("a-1.whl"), None);
}

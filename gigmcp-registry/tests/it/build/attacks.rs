//! What no image is made of, each beside what it is made of.

use std::fs;

use super::images::TOOLSPEC;
use super::{built, echo, manifest};

#[test]
fn programs_that_could_not_run_are_refused() {
    let desk = echo();
    fs::copy("/usr/bin/env", desk.path("dynamic")).unwrap();
    fs::write(desk.path("script"), "#!/bin/sh\nexec server\n").unwrap();
    fs::write(desk.path("text"), "server").unwrap();
    let whole = fs::read(desk.path("server")).unwrap();
    fs::write(desk.path("short"), &whole[..100]).unwrap();
    let mut other = whole.clone();
    other[18] = 243;
    fs::write(desk.path("riscv"), other).unwrap();
    for (file, says) in [
        ("dynamic", "linked dynamically and needs \"/lib64/ld-linux-x86-64.so.2\""),
        ("script", "a script for \"/bin/sh\""),
        ("text", "no ELF program"),
        ("short", "cut short"),
        ("riscv", "for another machine"),
    ] {
        for option in ["--binary", "--engine"] {
            fs::write(desk.path("desk.toolspec.yaml"), TOOLSPEC).unwrap();
            fs::write(desk.path("desk.yaml"), manifest("desk", "toolpack", "/app/server", &["list_tickets"])).unwrap();
            let from = if option == "--binary" { "echo.yaml" } else { "desk.yaml" };
            let (code, said) = desk.refused(&format!("build {from} {option} {file} --output layout --pin pinned.yaml"));
            assert!(code == 1 && said.contains(says), "{file}: {said}");
            assert!(!desk.path("pinned.yaml").exists(), "{file}");
        }
    }
    let (code, said) = desk.refused("build echo.yaml --binary server --binary server --output layout");
    assert!(code == 1 && said.contains("a second program for linux/amd64"), "{said}");
    built(&desk, "build echo.yaml --binary server --output layout");
    built(&desk, "build desk.yaml --engine server --output layout");
}

#[test]
fn an_image_is_built_as_its_manifest_says() {
    let desk = echo();
    for (builder, option, is_right) in [
        ("go-static", "--binary", true),
        ("toolpack", "--binary", false),
        ("node", "--binary", false),
        ("go-static", "--engine", false),
    ] {
        fs::write(desk.path("desk.yaml"), manifest("desk", builder, "/app/server", &["list_tickets"])).unwrap();
        fs::write(desk.path("desk.toolspec.yaml"), TOOLSPEC).unwrap();
        let line = format!("build desk.yaml {option} server --output layout");
        if is_right {
            built(&desk, &line);
        } else {
            let (code, said) = desk.refused(&line);
            assert!(code == 1 && said.contains("is for manifests with `builder:"), "{builder}: {said}");
        }
    }
}

#[test]
fn a_toolspec_that_is_not_the_manifests_is_refused() {
    let desk = echo();
    fs::write(desk.path("desk.yaml"), manifest("desk", "toolpack", "/app/server", &["list_tickets"])).unwrap();
    let line = "build desk.yaml --engine server --output layout";
    let (code, said) = desk.refused(line);
    assert!(code == 3 && said.contains("desk.toolspec.yaml cannot be read"), "{said}");
    for (case, from, to) in [
        ("host", "api.desk.dev", "api.evil.dev"),
        ("tool", "list_tickets", "drop_tickets"),
        ("version", "1.0.0", "1.0.1"),
    ] {
        fs::write(desk.path("desk.toolspec.yaml"), TOOLSPEC.replace(from, to)).unwrap();
        let (code, said) = desk.refused(line);
        assert!(code == 1 && said.contains("the toolspec desk.toolspec.yaml is refused"), "{case}: {said}");
    }
    fs::write(desk.path("desk.toolspec.yaml"), TOOLSPEC).unwrap();
    built(&desk, line);
}

#[test]
fn nothing_is_built_into_another_directory() {
    let desk = echo();
    fs::create_dir(desk.path("other")).unwrap();
    fs::write(desk.path("other/file"), "mine").unwrap();
    let (code, said) = desk.refused("build echo.yaml --binary server --output other --json");
    assert!(code == 3 && said.contains("holds something that is no image layout"), "{said}");
    let _: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(super::files(&desk.path("other")), ["file"]);
    fs::remove_file(desk.path("other/file")).unwrap();
    built(&desk, "build echo.yaml --binary server --output other");
}

#[test]
fn a_build_that_fails_leaves_nothing() {
    let desk = echo();
    fs::copy("/bin/sh", desk.path("dynamic")).unwrap();
    desk.refused("build echo.yaml --binary dynamic --output layout");
    assert!(!desk.path("layout").exists());
    built(&desk, "build echo.yaml --binary server --output layout");
    let before = super::files(&desk.path("layout"));
    desk.refused("build echo.yaml --binary dynamic --output layout --tag second");
    assert_eq!(super::files(&desk.path("layout")), before, "nor in a layout that is there");
    built(&desk, "build echo.yaml --binary server --output layout --tag second --source-date-epoch 1");
    assert!(super::files(&desk.path("layout")).len() > before.len());
}

#[test]
fn nothing_is_written_through_a_symlink() {
    let desk = echo();
    built(&desk, "build echo.yaml --binary server --output layout");
    fs::write(desk.path("mine"), "mine").unwrap();
    for planted in ["layout/index.json.new", "pinned.yaml.new", "pinned.yaml"] {
        drop(fs::remove_file(desk.path(planted)));
        std::os::unix::fs::symlink(desk.path("mine"), desk.path(planted)).unwrap();
        built(&desk, "build echo.yaml --binary server --output layout --pin pinned.yaml --tag again");
        assert_eq!(fs::read_to_string(desk.path("mine")).unwrap(), "mine", "{planted}");
        for written in ["layout/index.json", "pinned.yaml"] {
            assert!(fs::symlink_metadata(desk.path(written)).unwrap().is_file(), "{planted}");
        }
    }
}

#[test]
fn builds_at_the_same_time_are_all_listed() {
    let desk = echo();
    std::thread::scope(|scope| {
        for second in 0..6 {
            let desk = &desk;
            scope.spawn(move || {
                built(
                    desk,
                    &format!(
                        "build echo.yaml --binary server --output layout --tag v{second} --source-date-epoch {second}"
                    ),
                )
            });
        }
    });
    let images = gigmcp_registry::layout_images(desk.path("layout")).unwrap();
    let mut tags: Vec<_> = images.iter().filter_map(|image| image.tag.clone()).collect();
    tags.sort();
    assert_eq!(tags, ["v0", "v1", "v2", "v3", "v4", "v5"]);
}

#[test]
fn tags_are_names_of_a_layout() {
    let desk = echo();
    for (tag, is_one) in [("1.0.0", true), ("stable/1.0+x", true), ("../x", false), ("-x", false), ("a//b", false)] {
        let line = format!("build echo.yaml --binary server --output layout --tag={tag}");
        if is_one {
            built(&desk, &line);
        } else {
            assert_eq!(desk.refused(&line).0, 2, "{tag}");
        }
    }
}

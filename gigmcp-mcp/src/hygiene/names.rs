//! Names that look alike.

use unicode_security::skeleton;

use super::safe_text;

/// What a name looks like. Two names that are the same so are not told apart by whoever reads them.
pub(crate) fn folded(name: &str) -> String {
    let seen = safe_text(name).to_lowercase();
    // `m` and `rn`, `0` and `O` look alike too, but names of programs are full of them.
    match seen.is_ascii() {
        true => seen,
        false => skeleton(&seen).collect::<String>().to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_look_alike_are_alike() {
        for (one, other, expected) in [
            ("read_file", "Read_File", true),
            ("read_file", "r\u{435}ad_file", true),
            ("read_file", "read\u{200b}_file", true),
            ("pay", "p\u{430}y", true),
            ("pay", "ｐａｙ", true),
            ("read_file", "read_files", false),
            ("list1", "listl", false),
            ("größe", "grosse", false),
        ] {
            assert_eq!(folded(one) == folded(other), expected, "{one} {other}");
        }
    }
}

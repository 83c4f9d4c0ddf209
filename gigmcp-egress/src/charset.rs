use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// Whether a body with these headers writes ASCII as ASCII, if it says at all in which characters it is written. In another one no
/// spelling of a secret would be found.
pub(crate) fn writes_ascii(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_TYPE).iter().all(|kind| {
        let kind = String::from_utf8_lossy(kind.as_bytes()).to_ascii_lowercase();
        kind.split([';', ',']).filter_map(label).all(|label| is_superset_of_ascii(&label))
    })
}

/// What a parameter says after `charset=`, without marks: programs read `UTF-16`, `utf16` and `utf_16` alike.
fn label(parameter: &str) -> Option<String> {
    let (_, value) = parameter.split_once("charset")?;
    Some(value.chars().filter(char::is_ascii_alphanumeric).collect())
}

/// All that are known not to be. What nobody knows is read as ASCII by those who do not know it either.
fn is_superset_of_ascii(label: &str) -> bool {
    let is_wide = WIDE.iter().any(|wide| label.contains(wide));
    // `unicode` is UTF-16 to .NET; `unicode11utf8` is UTF-8 to browsers.
    let is_unicode = label.contains("unicode") && !label.contains("utf8");
    let digits = ["ibm", "cp", "ccsid"].iter().find_map(|prefix| label.split_once(prefix)).map(|(_, digits)| digits);
    let page = digits.and_then(|digits| digits.parse().ok());
    let is_ebcdic = page.is_some_and(|page: u32| EBCDIC.iter().any(|(first, last)| (*first..=*last).contains(&page)));
    !(is_wide || is_unicode || is_ebcdic)
}

/// Parts of the names of encodings with other units than bytes, or in which some characters of ASCII mean something else.
const WIDE: &[&str] = &["utf16", "utf32", "utf7", "ucs2", "ucs4", "iso10646", "ebcdic", "scsu", "bocu", "hzgb"];

/// IBM's code pages of EBCDIC, and Windows' numbers for UTF-16, UTF-32 and UTF-7, from and to.
const EBCDIC: &[(u32, u32)] = &[
    (37, 37),
    (256, 256),
    (273, 297),
    (361, 361),
    (382, 425),
    (500, 500),
    (803, 803),
    (829, 829),
    (833, 839),
    (870, 871),
    (875, 875),
    (880, 880),
    (892, 893),
    (905, 905),
    (918, 918),
    (924, 924),
    (930, 931),
    (933, 933),
    (935, 935),
    (937, 937),
    (939, 939),
    (1025, 1027),
    (1047, 1047),
    (1069, 1071),
    (1097, 1097),
    (1112, 1112),
    (1122, 1123),
    (1130, 1130),
    (1132, 1132),
    (1137, 1137),
    (1140, 1149),
    (1153, 1160),
    (1164, 1166),
    (1200, 1201),
    (1364, 1364),
    (1371, 1371),
    (1388, 1388),
    (1390, 1390),
    (1399, 1399),
    (4971, 4971),
    (12000, 12001),
    (12712, 12712),
    (16684, 16684),
    (16804, 16804),
    (20273, 20424),
    (20833, 20838),
    (20871, 20905),
    (20924, 20924),
    (21025, 21027),
    (65000, 65000),
];

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_superset_of_ascii_is_told_by_its_name() {
        for (kind, expected) in [
            ("text/html", true),
            ("text/html; charset=utf-8", true),
            ("text/html; charset=unicode-1-1-utf-8", true),
            ("text/html; charset=\"\"", true),
            ("application/json; charset=cp1252", true),
            ("application/json; charset=IBM00858", true),
            ("text/plain; charset=koi8-r", true),
            ("text/plain; charset=cp932", true),
            ("text/plain; charset=cp936", true),
            ("text/plain; charset=cp20866", true),
            ("text/plain; charset=euc-jp", true),
            ("application/utf-16", true),
            ("text/html; charset=utf-16", false),
            ("text/html; charset=\"utf-16\"; x=y", false),
            ("text/html;CHARSET = UTF_16LE", false),
            ("text/html; charset*=us-ascii''utf-32", false),
            ("text/html; charset=unicode", false),
            ("text/html; charset=unicodeFFFE", false),
            ("text/html; charset=csUnicode11UTF7", false),
            ("text/html; charset=IBM01140", false),
            ("text/html; charset=x-cp20273", false),
            ("text/html; charset=cp1200", false),
            ("text/html; charset=utf-8; charset=utf-7", false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, kind.parse().unwrap())]);
            assert_eq!(writes_ascii(&headers), expected, "{kind}");
        }
        let two = ["text/html", "text/html; charset=utf-16"].map(|kind| (Some(CONTENT_TYPE), kind.parse().unwrap()));
        let mut headers = HeaderMap::new();
        headers.extend(two);
        assert!(!writes_ascii(&headers), "twice");
    }
}

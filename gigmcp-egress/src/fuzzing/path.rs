use crate::encoding::percent_decoded;
use crate::path::{PathPattern, Spelling, canonical, is_sound, is_visible};

/// First line a pattern, second a path. A path that may be judged has one reading: no program that decodes it, once or
/// more, takes backslashes for slashes or drops parameters finds another. A pattern is its own canonical form and matches
/// what it says.
pub fn path(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (pattern, path) = text.split_once('\n').unwrap_or(("/**", text));
    let sound = path.starts_with('/') && !path.contains('?') && is_visible(path) && is_sound(path);
    if sound {
        assert!(!climbs(path.as_bytes(), 3), "{path} climbs");
    }
    let judged = sound && canonical(path, Spelling::STRICTEST).is_ok();
    if judged {
        one_reading(path);
    }
    let Ok(pattern) = pattern.parse::<PathPattern>() else { return };
    assert_eq!(pattern.to_string().parse::<PathPattern>(), Ok(pattern.clone()), "canonical forms stay");
    if judged {
        assert_eq!(pattern.matches(path), matches(&pattern.to_string(), path), "{pattern} and {path}");
    }
}

/// Segments are the same before and after decoding, decoding again changes nothing, and encoding gives the path back.
fn one_reading(path: &str) {
    let once = percent_decoded(path.as_bytes());
    assert_eq!(percent_decoded(&once), once, "{path} decodes twice");
    let slashes = |text: &[u8]| text.iter().filter(|byte| matches!(byte, b'/' | b'\\')).count();
    assert_eq!(slashes(&once), slashes(path.as_bytes()), "{path} has an encoded slash");
    assert!(!path[1..].trim_end_matches('/').split('/').any(str::is_empty) || path == "/", "{path} has `//`");
    assert!(!once.contains(&b';'), "{path} has parameters");
    // Whatever must not stand in a path is what must be escaped; the rest is not.
    for (index, _) in path.match_indices('%') {
        let byte = u8::from_str_radix(&path[index + 1..index + 3], 16).unwrap();
        assert!(!byte.is_ascii_alphanumeric() && !b"-._~/\\;%".contains(&byte), "{path} escapes {byte:#x}");
    }
}

/// Whether some reading of a path has a dot segment.
fn climbs(path: &[u8], decodings: usize) -> bool {
    let dots = path.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| {
        let name = segment.split(|byte| *byte == b';').next().unwrap();
        matches!(name, b"." | b"..")
    });
    // Beyond twice nobody decodes, and three times is refused only where rules look at paths.
    dots || (decodings > 1 && climbs(&percent_decoded(path), decodings - 1))
}

/// The plain way to match: any way at all to cut the segments.
fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, below) = match pattern.strip_suffix("/**") {
        Some(pattern) => (pattern, true),
        None => (pattern, false),
    };
    let (globs, segments): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), path.split('/').collect());
    let fits = globs.len() <= segments.len()
        && globs.iter().zip(&segments).all(|(glob, segment)| {
            let wildcard = glob.contains('*') && segment.is_empty();
            !wildcard && glob_matches(glob.as_bytes(), segment.as_bytes())
        });
    fits && (below || globs.len() == segments.len())
}

/// Which beginnings of the text fit what was read of the glob, byte for byte of that.
fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let mut fits = vec![false; text.len() + 1];
    fits[0] = true;
    for expected in glob {
        let before = fits.clone();
        for length in 0..=text.len() {
            fits[length] = match expected {
                b'*' => before[length] || length > 0 && fits[length - 1],
                _ => length > 0 && before[length - 1] && text[length - 1] == *expected,
            };
        }
    }
    fits[text.len()]
}

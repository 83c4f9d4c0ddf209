//! One server, both ways.

use crate::{
    direct::Direct,
    explained::{EXPLAINED, Explained, Why},
    requests::{LISTINGS, Listing, Request},
    servers::{Place, Subject},
    through::Through,
    tree::Tree,
};

/// A request's result or error, as text.
#[derive(Debug)]
pub(crate) enum Answer {
    Result(String),
    Error(String),
}

/// Sends everything both ways, and gives every difference that is not explained.
pub(crate) fn compare(
    subject: &Subject,
    direct: &mut Direct,
    through: &mut Through<'_>,
    (place_direct, place_through): (&Place, &Place),
) -> Vec<String> {
    let mut found = Vec::new();
    let prefix = format!("{}_", subject.name);
    for listing in LISTINGS {
        let ours = items(listing, |params| direct.request(listing.method, params));
        let theirs = items(listing, |params| through.request(listing.method, params));
        assert!(!ours.is_empty(), "{}: {}", subject.name, listing.method);
        for item in ours {
            let key = item.member(listing.key).unwrap().text();
            let exposed = if listing.prefixed { format!("{prefix}{key}") } else { key.clone() };
            let same = theirs.iter().find(|item| item.member(listing.key).is_some_and(|name| name.text() == exposed));
            let case = Case { method: listing.method, prefix: &prefix, what: format!("{} {key}", listing.method) };
            match same {
                Some(same) => case.differences(&item, same, &mut Vec::new(), &mut found),
                None => found.push(format!("{}: not listed as {exposed}", case.what)),
            }
        }
    }
    let known = names(direct);
    let both = (subject.requests)(place_direct).into_iter().zip((subject.requests)(place_through));
    for (ours, theirs) in both {
        let direct = direct.request(ours.method, &ours.params(""));
        let through = through.request(theirs.method, &theirs.params(&prefix));
        let is_known = known.contains(&(ours.method, ours.name.clone()));
        if !is_known && refused(&theirs, &prefix, &through) {
            continue;
        }
        if unfit(&theirs, &direct, &through) {
            continue;
        }
        found.extend(answers(subject, &ours, &prefix, &place_direct.hide(direct), &place_through.hide(through)));
    }
    found
}

/// Every name that a server has, with the method it is used by.
fn names(direct: &mut Direct) -> Vec<(&'static str, String)> {
    let mut names = Vec::new();
    for listing in LISTINGS {
        let items = items(listing, |params| direct.request(listing.method, params));
        let keys = items.iter().filter_map(|item| item.member(listing.key));
        names.extend(keys.map(|key| (listing.used_by, key.text())));
    }
    names
}

/// Whether the gateway refuses a name by itself, as it may.
fn refused(request: &Request, prefix: &str, through: &Answer) -> bool {
    let may = |explained: &Explained| explained.method == request.method && matches!(explained.why, Why::UnknownName);
    let Answer::Error(error) = through else { return false };
    let error = Tree::parse(error);
    EXPLAINED.iter().any(may)
        && error.member("code").is_some_and(|code| *code == Tree::Scalar("-32602".to_owned()))
        && error.member("message").is_some_and(|text| text.text().contains(&format!("{prefix}{}", request.name)))
}

/// Whether both refuse these arguments, each in its own words.
fn unfit(request: &Request, direct: &Answer, through: &Answer) -> bool {
    let may =
        |explained: &Explained| explained.method == request.method && matches!(explained.why, Why::UnfitArguments);
    let is_error = |result: &Tree| result.member("isError") == Some(&Tree::Scalar("true".to_owned()));
    let Answer::Result(through) = through else { return false };
    let through = Tree::parse(through);
    let code = through.member("_meta").and_then(|meta| meta.member("gigmcp/refused")?.member("code"));
    EXPLAINED.iter().any(may)
        && is_error(&through)
        && code.is_some_and(|code| code.text() == "arguments-invalid")
        && match direct {
            Answer::Error(_) => true,
            Answer::Result(direct) => is_error(&Tree::parse(direct)),
        }
}

fn answers(subject: &Subject, request: &Request, prefix: &str, direct: &Answer, through: &Answer) -> Vec<String> {
    let what = format!("{} {} {}{}", request.method, subject.name, request.name, request.rest);
    let (ours, theirs) = match (direct, through) {
        (Answer::Result(ours), Answer::Result(theirs)) | (Answer::Error(ours), Answer::Error(theirs)) => (ours, theirs),
        _ => return vec![format!("{what}: {direct:?} and through the gateway {through:?}")],
    };
    let mut found = Vec::new();
    if ours != theirs {
        let case = Case { method: request.method, prefix, what };
        case.differences(&Tree::parse(ours), &Tree::parse(theirs), &mut Vec::new(), &mut found);
    }
    found
}

/// What is compared, and under which rules.
struct Case<'a> {
    method: &'static str,
    prefix: &'a str,
    what: String,
}

impl Case<'_> {
    fn differences(&self, ours: &Tree, theirs: &Tree, path: &mut Vec<String>, found: &mut Vec<String>) {
        match (ours, theirs) {
            (Tree::Object(ours), Tree::Object(theirs)) => {
                let names =
                    |members: &[(String, Tree)]| members.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
                if names(ours) != names(theirs) {
                    let (ours, theirs) = (names(ours).join(", "), names(theirs).join(", "));
                    self.report(path, &format!("members {ours}"), &format!("members {theirs}"), found);
                }
                for (name, value) in ours {
                    let same = theirs.iter().find(|(other, _)| other == name);
                    path.push(name.clone());
                    if let Some((_, same)) = same {
                        self.differences(value, same, path, found);
                    }
                    path.pop();
                }
            }
            (Tree::Array(ours), Tree::Array(theirs)) if ours.len() == theirs.len() => {
                for (at, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                    path.push(at.to_string());
                    self.differences(ours, theirs, path, found);
                    path.pop();
                }
            }
            _ if ours == theirs || self.explains(path, ours, theirs) => {}
            _ => self.report(path, &ours.to_string(), &theirs.to_string(), found),
        }
    }

    fn report(&self, path: &[String], ours: &str, theirs: &str, found: &mut Vec<String>) {
        found.push(format!("{}, at {}: {ours}\n    and through the gateway: {theirs}", self.what, path.join("/")));
    }

    fn explains(&self, path: &[String], ours: &Tree, theirs: &Tree) -> bool {
        let here = |pattern: &str| {
            let parts: Vec<_> = pattern.split('/').collect();
            parts.len() == path.len() && parts.iter().zip(path).all(|(part, name)| *part == "*" || part == name)
        };
        EXPLAINED.iter().filter(|explained| explained.method == self.method && here(explained.path)).any(|explained| {
            match explained.why {
                Why::Prefixed => theirs.text() == format!("{}{}", self.prefix, ours.text()),
                Why::UnknownName | Why::UnfitArguments => false,
                Why::TaskWaitedFor => (&*ours.text(), &*theirs.text()) == ("required", "optional"),
                Why::LooseHint => {
                    let strict = matches!(path.last().map(|name| &**name), Some("destructiveHint" | "openWorldHint"));
                    (ours.to_string(), theirs.to_string()) == ((!strict).to_string(), strict.to_string())
                }
                Why::AskedInVain => {
                    let (ours, theirs) = (ours.text(), theirs.text());
                    ours.starts_with("the client does not support")
                        && (theirs.starts_with("the client does not support")
                            || theirs.ends_with("was refused: \"the client does not support this request\""))
                }
            }
        })
    }
}

/// Every item of a list, over all its pages.
fn items(listing: &Listing, mut request: impl FnMut(&str) -> Answer) -> Vec<Tree> {
    let (mut items, mut params) = (Vec::new(), "{}".to_owned());
    loop {
        let Answer::Result(result) = request(&params) else { panic!("{} is refused", listing.method) };
        let page = Tree::parse(&result);
        items.extend(page.member(listing.member).unwrap().items().iter().cloned());
        match page.member("nextCursor") {
            Some(cursor) => params = format!(r#"{{"cursor":{cursor}}}"#),
            None => return items,
        }
    }
}

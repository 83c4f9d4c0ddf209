//! `key export-recovery|import-recovery`: the keys on paper.

use std::path::PathBuf;

use clap::Args;
use gigmcp_vault::{KeyRing, Reason, SecretBytes, SecretString};
use serde_json::json;
use zeroize::Zeroizing;

use crate::{
    cli::read_input,
    keys::MasterKey,
    output::{Failure, Output},
    settings::Settings,
};

#[derive(Args)]
pub(crate) struct Export {
    /// Say that you want the keys to be shown, here and now
    #[arg(long)]
    show_the_keys: bool,
    /// Split them into so many parts, each to be kept by another person or at another place
    #[arg(long, value_name = "PARTS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    parts: u8,
    /// How many of the parts are needed to restore them
    #[arg(long, value_name = "PARTS", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..))]
    needed: u8,
}

#[derive(Args)]
pub(crate) struct Import {
    /// Files with the parts, in any order; standard input without any
    #[arg(default_value = "-", hide_default_value = true)]
    files: Vec<PathBuf>,
    /// Where the file is to be [default: what GIG_MASTER_KEY_FILE names, or master.key in the data directory]
    #[arg(long)]
    to: Option<PathBuf>,
}

/// Prints what `import` reads.
pub(crate) async fn export(settings: &Settings, export: &Export, out: &Output) -> Result<(), Failure> {
    let Export { show_the_keys, parts, needed } = *export;
    if !show_the_keys {
        return Err(
            "this prints the master key: whoever sees the screen, the paper or a file it is written to can open every secret; nothing was printed, repeat it with --show-the-keys if you want that".into()
        );
    }
    if needed > parts {
        return Err(format!("--needed {needed} is more than --parts {parts}").into());
    }
    if parts > 1 && needed == 1 {
        return Err("each of the parts would be the whole key; say with --needed how many are needed, 2 or more".into());
    }
    let ring = MasterKey::of(settings)?.load().await?;
    let forms = ring.recovery_forms(needed, parts)?;
    super::tell(settings, "shows the master key for its recovery").await;
    eprintln!("gigmcp: this is the master key; clear the screen, and what the terminal keeps of it, afterwards");
    let reason = || Reason::new("print for recovery");
    // What goes to the terminal or the printer is the reader's to keep secret from here on.
    let texts = forms.iter().map(|form| form.expose(reason(), |text| Zeroizing::new(text.to_owned())));
    let texts: Vec<Zeroizing<String>> = texts.collect();
    let document = json!({
        "needed": needed, "forms": texts.iter().map(|text| text.as_str()).collect::<Vec<_>>(),
    });
    out.print(&document, |_| {
        let print = |(at, text): (usize, &Zeroizing<String>)| {
            let about = match parts {
                1 => "# the master key of gigmcp".to_owned(),
                _ => format!("# part {at} of {parts} of the master key of gigmcp; {needed} parts restore it"),
            };
            let how = "# restore it with: gigmcp-gateway key import-recovery".to_owned();
            [vec![about, how], text.lines().map(str::to_owned).collect(), vec![String::new()]].concat()
        };
        (1..).zip(&texts).flat_map(print).collect()
    })
}

/// Makes a key file of what `export` printed.
pub(crate) async fn import(settings: &Settings, import: Import, out: &Output) -> Result<(), Failure> {
    let mut all = Zeroizing::new(Vec::with_capacity(MAX_FORM_BYTES));
    for path in &import.files {
        all.extend_from_slice(&read_input(path, MAX_FORM_BYTES as u64)?);
        all.push(b'\n');
    }
    let text: SecretString = SecretBytes::from(all).into_text()?;
    let ring = KeyRing::from_recovery_forms(&text)?;
    let key = MasterKey::of(settings)?;
    let default = || key.path().map_or_else(|| settings.data_dir().join("master.key"), PathBuf::from);
    let path = import.to.unwrap_or_else(default);
    key.write_new(&path, &ring).await?;
    let document = json!({
        "restored": path.display().to_string(), "key": ring.active_id().to_string(), "wrapped": key.is_wrapped(),
    });
    out.print(&document, |_| {
        vec![
            format!("restored {} with version {} of the key", path.display(), ring.active_version()),
            "see with `gigmcp-gateway key check` whether every secret opens with it".into(),
        ]
    })
}

/// Many forms of many keys.
const MAX_FORM_BYTES: usize = 1 << 20;

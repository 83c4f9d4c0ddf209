//! Which tree an image became.

use std::fs;
use std::io;

use serde::{Deserialize, Serialize};

use super::{Store, StoreError};
use crate::digest::Digest;
use crate::seal::TreeDigest;

/// What is remembered of an image that was unpacked, so that it need not be again.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    #[serde(with = "as_text")]
    pub(crate) tree: TreeDigest,
    /// What it was made from: manifests, configuration, layers.
    #[serde(with = "all_as_text")]
    pub(crate) blobs: Vec<Digest>,
}

impl Store {
    /// The record of an image by its pinned digest. A damaged one is none: the image is unpacked again.
    pub(crate) fn record(&self, image: &Digest, architecture: &str) -> Result<Option<Record>, StoreError> {
        match fs::read(self.0.places.image(&name(image, architecture))) {
            Ok(content) => Ok(serde_json::from_slice(&content).ok()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io("reading a record")(error)),
        }
    }

    pub(crate) fn write_record(&self, image: &Digest, architecture: &str, record: &Record) -> Result<(), StoreError> {
        let content = serde_json::to_vec(record).expect("a record has only text keys");
        self.0.places.write(&self.0.places.image(&name(image, architecture)), &content)
    }
}

fn name(image: &Digest, architecture: &str) -> String {
    format!("{}-{architecture}", image.to_hex())
}

mod as_text {
    use std::fmt::Display;
    use std::str::FromStr;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

mod all_as_text {
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::digest::Digest;

    pub(super) fn serialize<S: Serializer>(values: &[Digest], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(values.iter().map(Digest::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Digest>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| text.parse().map_err(serde::de::Error::custom)).collect()
    }
}

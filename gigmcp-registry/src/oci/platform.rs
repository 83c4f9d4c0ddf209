use std::fmt;

use serde::Deserialize;

/// What machine an image is for; the system is always Linux.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Platform {
    /// 64-bit x86.
    Amd64,
    /// 64-bit Arm.
    Arm64,
}

impl Platform {
    /// Of this machine, if images for it can be run.
    #[must_use]
    pub fn of_this_machine() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::Amd64),
            "aarch64" => Some(Self::Arm64),
            _ => None,
        }
    }

    /// As images write it.
    #[must_use]
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    pub(super) fn runs(self, said: &Said) -> bool {
        // Later variants are for processors that this one need not be.
        let is_basic = match self {
            Self::Amd64 => matches!(said.variant.as_deref(), None | Some("" | "v1")),
            Self::Arm64 => matches!(said.variant.as_deref(), None | Some("" | "v8")),
        };
        said.os == "linux" && said.architecture == self.architecture() && is_basic
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "linux/{}", self.architecture())
    }
}

/// What an index or a configuration says.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Said {
    pub(super) architecture: String,
    pub(super) os: String,
    pub(super) variant: Option<String>,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

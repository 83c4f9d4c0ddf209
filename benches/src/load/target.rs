//! What is loaded: where it listens, and whom it knows.

use std::{any::Any, net::SocketAddr, path::Path};

use crate::{
    Failure,
    calls::{endpoint, whole},
};

/// Several profiles behind one address.
pub(super) struct Target {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    pub(super) places: Vec<Place>,
    pub(super) pid: u32,
    /// Ends it when dropped.
    _running: Box<dyn Any + Send + Sync>,
}

/// A profile, or what stands for one.
pub(super) struct Place {
    path: String,
    token: Option<String>,
}

impl Target {
    /// The gateway, with as many profiles that have a server each.
    pub(super) fn whole(directory: &Path, places: usize) -> Result<Self, Failure> {
        let data = directory.join("gigmcp");
        let tokens = whole::profiles(&data, places)?;
        let places =
            tokens.into_iter().map(|(slug, token)| Place { path: format!("/mcp/p/{slug}"), token: Some(token) });
        let places = places.collect();
        let (address, pid, running) = whole::serve(&data)?;
        Ok(Self { name: "whole", address: address.parse()?, places, pid, _running: Box::new(running) })
    }

    /// Our endpoint and aggregator before one process.
    pub(super) fn bare(places: usize) -> Result<Self, Failure> {
        let (process, address) = endpoint::process()?;
        let places = (0..places).map(|number| Place { path: format!("/mcp/{number}"), token: None }).collect();
        Ok(Self { name: "bare", address: address.parse()?, places, pid: process.id(), _running: Box::new(process) })
    }

    /// A request of client `number`, without what only some have.
    pub(super) fn request(&self, number: usize, method: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
        let Place { path, token } = &self.places[number % self.places.len()];
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\naccept: application/json, text/event-stream\r\n",
            self.address
        );
        if let Some(token) = token {
            request.push_str(&format!("authorization: Bearer {token}\r\n"));
        }
        if method == "POST" {
            request.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
        }
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        request.push_str(body);
        request.into_bytes()
    }
}

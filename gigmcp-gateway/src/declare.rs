//! What an operator may declare about a server on a command line; the same for `server add` and `exec`.

use std::path::PathBuf;

use clap::Args;
use gigmcp_egress::HostPattern;
use gigmcp_sandbox::Profile;

use crate::spec::{
    EnvName, InvalidSpec, SecretSlot, ServerSpec, Source, SpecAsks, SpecLimits, launcher_registries, once_each,
    parse_cpus, parse_env, parse_host, parse_size,
};

#[derive(Args)]
pub(crate) struct Declaration {
    /// Host the server may reach by https: a name, *.SUFFIX (one label) or **.SUFFIX (any depth)
    #[arg(long, value_name = "HOST", value_parser = parse_host)]
    allow: Vec<HostPattern>,

    /// Host the server may read from by https, with GET and HEAD only
    #[arg(long, value_name = "HOST", value_parser = parse_host)]
    allow_read: Vec<HostPattern>,

    /// Credential the server uses without holding it: it finds a placeholder in the variable ENV, and HOST alone gets
    /// the real value
    #[arg(long, value_name = "ENV=HOST")]
    secret: Vec<SecretSlot>,

    /// Plain variable for the server; nothing else of the caller's environment gets in
    #[arg(long, value_name = "NAME=VALUE", value_parser = parse_env)]
    env: Vec<(EnvName, String)>,

    /// Host file or directory the server may read besides the tools
    #[arg(long, value_name = "PATH")]
    read_only: Vec<PathBuf>,

    /// Memory of all the server's processes together, for example 512M or 2G [default: 512M]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,

    /// Processors the server may keep busy, for example 1 or 0.5 [default: 1]
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    cpus: Option<u32>,

    /// Processes and threads the server may have at once [default: 256]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(4..=65_536))]
    processes: Option<u64>,

    /// Seconds the server may run before it is ended [default: no end]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    wall_time: Option<u64>,

    /// System calls the server may make: those of static programs, of node or of python, or any that a server needs
    #[arg(long, value_name = "static|node|python|any", default_value_t)]
    seccomp: Profile,

    /// Empty host directory that the server may write to at /state, and that stays [default: nothing stays]
    #[arg(long, value_name = "DIRECTORY")]
    state: Option<PathBuf>,

    /// Let the server ask the model of the client that called it
    #[arg(long)]
    sampling: bool,

    /// Let the server ask for the directories of the client that called it [default: it is told /state, if it has that]
    #[arg(long)]
    client_roots: bool,
}

impl Declaration {
    /// The whole specification, and notes on what was allowed beyond the words of the operator.
    pub(crate) fn into_spec(
        self,
        source: Source,
        command: Vec<String>,
    ) -> Result<(ServerSpec, Vec<String>), InvalidSpec> {
        let (mut allow_read, mut notes) = (self.allow_read, Vec::new());
        for (launcher, host) in launcher_registries(&command) {
            notes.push(format!("{launcher} fetches packages, so {host} may be read from too"));
            allow_read.push(host);
        }
        let spec = ServerSpec {
            source,
            command,
            env: self.env.into_iter().collect(),
            allow: once_each(self.allow),
            allow_read: once_each(allow_read),
            secrets: self.secret,
            read_only: self.read_only,
            limits: SpecLimits {
                memory_bytes: self.memory,
                cpu_percent: self.cpus,
                processes: self.processes,
                wall_seconds: self.wall_time,
                ..SpecLimits::default()
            },
            seccomp: self.seccomp,
            state: self.state,
            asks: SpecAsks { sampling: self.sampling, roots: self.client_roots },
            ..ServerSpec::new(Source::HostTools)
        };
        spec.check()?;
        Ok((spec, notes))
    }
}

//! How each runtime is asked to fetch something.

use super::internet::HOST;

/// One runtime, or one library of it.
pub(super) struct Probe {
    pub(super) name: &'static str,
    /// Its executable.
    pub(super) program: &'static str,
    /// What makes it tell its version.
    pub(super) version: &'static [&'static str],
    /// What makes it print the answer to a URL, which stands for `URL`, from a host that stands for `HOST`. Exits with
    /// [`ABSENT`] if the library is not installed.
    pub(super) arguments: &'static [&'static str],
    /// A file it needs: its name in [`DIRECTORY`] and its text.
    pub(super) file: Option<(&'static str, &'static str)>,
    pub(super) memory_bytes: u64,
    /// What to look at when it fails.
    pub(super) hint: &'static str,
}

impl Probe {
    /// What is fetched.
    pub(super) fn path(&self) -> String {
        match self.program {
            "git" => "/git/info/refs".to_owned(),
            _ => format!("/{}", self.name.replace(' ', "-")),
        }
    }

    /// The arguments for this probe's own URL.
    pub(super) fn filled(&self) -> Vec<String> {
        let url = match self.program {
            "git" => format!("https://{HOST}/git"),
            _ => format!("https://{HOST}{}", self.path()),
        };
        let fill = |argument: &&str| {
            argument.replace("URL", &url).replace("HOST", HOST).replace("PATH", &self.path()).replace("DIR", DIRECTORY)
        };
        self.arguments.iter().map(fill).collect()
    }
}

/// Where a probe's file lies inside.
pub(super) const DIRECTORY: &str = "/.gig/probe";
/// How a probe says that what it tries is not installed.
pub(super) const ABSENT: i32 = 42;

const DEFAULTS: Probe = Probe {
    name: "",
    program: "",
    version: &["--version"],
    arguments: &[],
    file: None,
    memory_bytes: 512 << 20,
    hint: "",
};

const SSL_CERT_FILE: &str = "it reads SSL_CERT_FILE or the system's store; is it linked to a TLS library of its own?";
const CERTIFI: &str = "it uses certifi unless it reads REQUESTS_CA_BUNDLE or SSL_CERT_FILE; update it";
const NODE: &str = "it reads NODE_EXTRA_CA_CERTS, but not when it is setuid or has capabilities";
const JAVA: &str = "it reads JAVA_TOOL_OPTIONS; a launcher that sets a trust store of its own overrides it";

pub(super) const PROBES: &[Probe] = &[
    Probe {
        name: "curl",
        program: "curl",
        arguments: &["--silent", "--show-error", "URL"],
        hint: "it reads CURL_CA_BUNDLE; is there a .curlrc that names another file?",
        ..DEFAULTS
    },
    Probe {
        name: "wget",
        program: "wget",
        arguments: &["--quiet", "--output-document=-", "--tries=1", "URL"],
        hint: "it reads the system's store; is it built with another?",
        ..DEFAULTS
    },
    Probe {
        name: "git",
        program: "git",
        arguments: &["ls-remote", "URL"],
        hint: "it reads GIT_SSL_CAINFO; is git-remote-https installed?",
        ..DEFAULTS
    },
    Probe {
        name: "openssl",
        program: "sh",
        version: &["-c", "openssl version"],
        arguments: &[
            "-c",
            "command -v openssl >/dev/null || exit 42; printf 'GET PATH HTTP/1.1\\r\\nHost: HOST\\r\\nConnection: close\\r\\n\\r\\n' | openssl s_client -quiet -verify_return_error -verify_hostname HOST -servername HOST -connect HOST:443",
        ],
        hint: SSL_CERT_FILE,
        ..DEFAULTS
    },
    Probe {
        name: "python urllib",
        program: "python3",
        arguments: &["-c", "import urllib.request as u; print(u.urlopen('URL').read().decode())"],
        hint: SSL_CERT_FILE,
        ..DEFAULTS
    },
    Probe {
        name: "python requests",
        program: "python3",
        version: &["-c", "import requests; print('requests', requests.__version__)"],
        arguments: &[
            "-c",
            "import sys\ntry: import requests\nexcept ImportError: sys.exit(42)\nprint(requests.get('URL').text)",
        ],
        hint: CERTIFI,
        ..DEFAULTS
    },
    Probe {
        name: "python httpx",
        program: "python3",
        version: &["-c", "import httpx; print('httpx', httpx.__version__)"],
        arguments: &[
            "-c",
            "import sys\ntry: import httpx\nexcept ImportError: sys.exit(42)\nprint(httpx.get('URL').text)",
        ],
        hint: CERTIFI,
        ..DEFAULTS
    },
    Probe {
        name: "python aiohttp",
        program: "python3",
        version: &["-c", "import aiohttp; print('aiohttp', aiohttp.__version__)"],
        arguments: &[
            "-c",
            "import asyncio, sys\ntry: import aiohttp\nexcept ImportError: sys.exit(42)\nasync def get():\n async with aiohttp.ClientSession() as s:\n  async with s.get('URL') as r: print(await r.text())\nasyncio.run(get())",
        ],
        hint: SSL_CERT_FILE,
        ..DEFAULTS
    },
    Probe {
        name: "node fetch",
        program: "node",
        arguments: &[
            "-e",
            "typeof fetch === 'function' ? fetch('URL').then((r) => r.text()).then(console.log) : process.exit(42)",
        ],
        memory_bytes: 1 << 30,
        hint: NODE,
        ..DEFAULTS
    },
    Probe {
        name: "node https",
        program: "node",
        arguments: &["-e", "require('https').get('URL', (r) => r.on('data', (d) => console.log(d.toString())))"],
        memory_bytes: 1 << 30,
        hint: NODE,
        ..DEFAULTS
    },
    Probe {
        name: "deno",
        program: "deno",
        arguments: &["eval", "console.log(await (await fetch('URL')).text())"],
        memory_bytes: 1 << 30,
        hint: "it reads DENO_CERT",
        ..DEFAULTS
    },
    Probe {
        name: "bun",
        program: "bun",
        arguments: &["-e", "console.log(await (await fetch('URL')).text())"],
        memory_bytes: 1 << 30,
        hint: "it reads NODE_EXTRA_CA_CERTS from version 1.1.22 on",
        ..DEFAULTS
    },
    Probe {
        name: "go",
        program: "go",
        version: &["version"],
        arguments: &["run", "DIR/main.go", "URL"],
        file: Some((
            "main.go",
            "package main\n\nimport (\n\t\"io\"\n\t\"net/http\"\n\t\"os\"\n)\n\nfunc main() {\n\tanswer, err := http.Get(os.Args[1])\n\tif err != nil {\n\t\tpanic(err)\n\t}\n\tio.Copy(os.Stdout, answer.Body)\n}\n",
        )),
        memory_bytes: 2 << 30,
        hint: SSL_CERT_FILE,
    },
    Probe {
        name: "java",
        program: "java",
        version: &["-version"],
        arguments: &["DIR/Probe.java", "URL"],
        file: Some((
            "Probe.java",
            "class Probe {\n  public static void main(String[] a) throws Exception {\n    try (var in = new java.net.URL(a[0]).openStream()) { System.out.write(in.readAllBytes()); }\n    System.out.flush();\n  }\n}\n",
        )),
        memory_bytes: 1 << 30,
        hint: JAVA,
    },
    Probe {
        name: "ruby",
        program: "ruby",
        arguments: &["-e", "require 'net/http'; puts Net::HTTP.get(URI('URL'))"],
        hint: SSL_CERT_FILE,
        ..DEFAULTS
    },
    Probe {
        name: "perl HTTP::Tiny",
        program: "perl",
        version: &["-e", "print \"perl $^V\\n\""],
        arguments: &[
            "-e",
            "use HTTP::Tiny; exit 42 unless HTTP::Tiny->can_ssl; my $r = HTTP::Tiny->new(verify_SSL => 1)->get('URL'); print $r->{content}; exit !$r->{success}",
        ],
        hint: SSL_CERT_FILE,
        ..DEFAULTS
    },
    Probe {
        name: "perl LWP",
        program: "perl",
        version: &["-MLWP", "-e", "print \"LWP $LWP::VERSION\\n\""],
        arguments: &[
            "-e",
            "eval { require LWP::UserAgent; require LWP::Protocol::https } or exit 42; my $r = LWP::UserAgent->new->get('URL'); print $r->decoded_content; exit !$r->is_success",
        ],
        hint: "it reads PERL_LWP_SSL_CA_FILE",
        ..DEFAULTS
    },
    Probe {
        name: "php",
        program: "php",
        arguments: &["-r", "extension_loaded('openssl') || exit(42); echo file_get_contents('URL');"],
        hint: SSL_CERT_FILE,
        ..DEFAULTS
    },
];

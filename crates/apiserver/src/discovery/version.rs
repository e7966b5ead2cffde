//! `/version`: which Kubernetes this is.

use machinery::{Map, Value};

/// The version of the API, as clients compare it with their own.
pub const GIT_VERSION: &str = "v1.36.0+skiff";

/// The document.
pub fn document() -> Value {
    let platform = format!("{}/{}", std::env::consts::OS, go_arch());
    let fields = [
        ("major", "1"),
        ("minor", "36"),
        ("gitVersion", GIT_VERSION),
        ("gitCommit", option_env!("SKIFF_COMMIT").unwrap_or("unknown")),
        ("gitTreeState", "clean"),
        ("buildDate", "1970-01-01T00:00:00Z"),
        ("goVersion", concat!("rustc ", env!("CARGO_PKG_RUST_VERSION"))),
        ("compiler", "rustc"),
        ("platform", platform.as_str()),
    ];
    Value::Object(Map::from_iter(fields))
}

/// The architecture as Go names it, which clients know.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        other => other,
    }
}

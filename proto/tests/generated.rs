//! The committed code is what `cluster.proto` generates; `UPDATE=1 cargo test -p proto` rewrites it.

use std::{fs, path::Path};

#[test]
fn committed_code_is_generated_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let set = protox::compile(["cluster.proto"], [root]).expect("cluster.proto compiles");
    let requests = set
        .file
        .into_iter()
        .map(|file| (prost_build::Module::from_protobuf_package_name(file.package()), file))
        .collect();
    let modules = prost_build::Config::new().bytes(["."]).generate(requests).expect("code is generated");
    let generated = modules.into_values().next().expect("one package");

    let path = root.join("src/cluster.rs");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &generated).expect("src/cluster.rs is writable");
    }
    let committed = fs::read_to_string(&path).expect("src/cluster.rs exists");
    assert!(committed == generated, "src/cluster.rs is not what cluster.proto generates: run with UPDATE=1");
}

//! What is linked into what people get: which crates, under which licences, with which bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};
use serde_json::{Value, json};

use crate::tool::cargo;

/// The members of which people get programs or libraries.
pub const SHIPPED: &[&str] = &["faretra-cli", "faretra-sql", "faretra-flight", "faretra-python", "faretra-capi"];

/// Says what the workspace is built of, for one machine, or for all.
pub fn metadata(root: &Path, machine: Option<&str>) -> Result<Metadata, String> {
    let mut command = MetadataCommand::new();
    command.cargo_path(cargo(root).get_program()).current_dir(root);
    let mut options = vec!["--locked".to_owned()];
    options.extend(machine.map(|machine| format!("--filter-platform={machine}")));
    command.other_options(options).exec().map_err(|error| error.to_string())
}

/// The packages that are compiled into the shipped members, those themselves among them, in the order of their names.
pub fn linked(metadata: &Metadata) -> Vec<&Package> {
    let shipped = metadata.packages.iter().filter(|package| SHIPPED.contains(&package.name.as_str()));
    let starts: Vec<&PackageId> = shipped.map(|package| &package.id).collect();
    reached(metadata, &starts, |kind| kind == DependencyKind::Normal, |package| !is_macro(package))
}

/// The packages that these need, directly or not, by dependencies of such kinds; and these. In the order of their names.
pub fn reached<'a>(
    metadata: &'a Metadata,
    starts: &[&'a PackageId],
    follows: impl Fn(DependencyKind) -> bool,
    wanted: impl Fn(&Package) -> bool,
) -> Vec<&'a Package> {
    let nodes: BTreeMap<&PackageId, _> =
        metadata.resolve.iter().flat_map(|resolve| &resolve.nodes).map(|node| (&node.id, node)).collect();
    let mut waiting = starts.to_vec();
    let mut seen: BTreeSet<&PackageId> = waiting.iter().copied().collect();
    while let Some(id) = waiting.pop() {
        for dependency in nodes.get(id).into_iter().flat_map(|node| &node.deps) {
            let followed = dependency.dep_kinds.iter().any(|kind| follows(kind.kind));
            if followed && wanted(&metadata[&dependency.pkg]) && seen.insert(&dependency.pkg) {
                waiting.push(&dependency.pkg);
            }
        }
    }
    let mut all: Vec<&Package> = seen.into_iter().map(|id| &metadata[id]).collect();
    all.sort_by_key(|package| (package.name.to_string(), package.version.clone()));
    all
}

/// A macro runs in the compiler, and is in no program.
fn is_macro(package: &Package) -> bool {
    package.targets.iter().any(|target| target.is_proc_macro())
}

/// The licences of what is linked in, each with its text, where its crate has one.
pub fn licences(packages: &[&Package]) -> Result<String, String> {
    let mut text = "What is linked into the programs and libraries of Faretra, and under which licences.\n".to_owned();
    for package in packages {
        let licence = package.license.as_deref().ok_or_else(|| format!("{} does not say its licence", package.name))?;
        text += &format!("\n{:=<100}\n{} {}\nLicence: {licence}\n", "", package.name, package.version);
        if let Some(home) = package.repository.as_deref().or(package.homepage.as_deref()) {
            text += &format!("Source: {home}\n");
        }
        let files = texts(package).map_err(|error| format!("{}: {error}", package.name))?;
        if files.is_empty() {
            text += "(The crate brings no file with the text.)\n";
        }
        for file in files {
            let bytes = std::fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            text += &format!("\n--- {name}\n{}\n", String::from_utf8_lossy(&bytes).trim_end());
        }
    }
    Ok(text)
}

/// The files of a crate that say its licence, in the order of their names.
fn texts(package: &Package) -> std::io::Result<Vec<PathBuf>> {
    let Some(folder) = package.manifest_path.parent() else { return Ok(vec![]) };
    let mut found = vec![];
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_uppercase();
        let told = ["LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE"].iter().any(|start| name.starts_with(start));
        if told && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The same as a bill of materials: CycloneDX 1.5, in JSON.
pub fn bill(root: &Path, metadata: &Metadata, packages: &[&Package], epoch: u64) -> Result<String, String> {
    let sums = checksums(root)?;
    let own = |package: &Package| package.source.is_none();
    let of = |package: &Package| {
        let id = format!("pkg:cargo/{}@{}", package.name, package.version);
        let mut component = json!({
            "type": if own(package) { "application" } else { "library" },
            "bom-ref": id,
            "name": package.name.to_string(),
            "version": package.version.to_string(),
            "purl": id,
            "scope": "required",
        });
        if let Some(licence) = &package.license {
            // The form of older crates.
            component["licenses"] = json!([{ "expression": licence.replace('/', " OR ").replace("  ", " ") }]);
        }
        if let Some(sum) = sums.get(&(package.name.to_string(), package.version.to_string())) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        }
        component
    };
    let there: BTreeSet<&PackageId> = packages.iter().map(|package| &package.id).collect();
    let nodes = metadata.resolve.iter().flat_map(|resolve| &resolve.nodes).filter(|node| there.contains(&node.id));
    let mut needs: Vec<(String, Vec<String>)> = nodes
        .map(|node| {
            let name = |id: &PackageId| format!("pkg:cargo/{}@{}", metadata[id].name, metadata[id].version);
            let mut on: Vec<String> =
                node.deps.iter().filter(|d| there.contains(&d.pkg)).map(|d| name(&d.pkg)).collect();
            on.sort();
            (name(&node.id), on)
        })
        .collect();
    needs.sort();
    let version = packages.iter().find(|package| own(package)).map_or_else(String::new, |own| own.version.to_string());
    let components: Vec<Value> = packages.iter().map(|package| of(package)).collect();
    let dependencies: Vec<Value> = needs.into_iter().map(|(id, on)| json!({ "ref": id, "dependsOn": on })).collect();
    let bill = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": timestamp(epoch)?,
            "component": { "type": "application", "bom-ref": "faretra", "name": "faretra", "version": version },
        },
        "components": components,
        "dependencies": dependencies,
    });
    serde_json::to_string_pretty(&bill).map(|text| text + "\n").map_err(|error| error.to_string())
}

/// The SHA-256 of each crate's file, as the lock file has them.
fn checksums(root: &Path) -> Result<BTreeMap<(String, String), String>, String> {
    let text = std::fs::read_to_string(root.join("Cargo.lock")).map_err(|error| format!("Cargo.lock: {error}"))?;
    let field = |block: &str, name: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = \""));
        line.map(|value| value.trim_end_matches('"').to_owned())
    };
    let blocks = text.split("[[package]]").skip(1);
    Ok(blocks.filter_map(|b| Some(((field(b, "name")?, field(b, "version")?), field(b, "checksum")?))).collect())
}

/// Seconds since 1970 as a bill has them.
fn timestamp(epoch: u64) -> Result<String, String> {
    let date = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ", "-d"]).arg(format!("@{epoch}")).output();
    let date = date.map_err(|error| format!("date: {error}"))?;
    match date.status.success() {
        true => Ok(String::from_utf8_lossy(&date.stdout).trim().to_owned()),
        false => Err(format!("date: {}", String::from_utf8_lossy(&date.stderr).trim())),
    }
}

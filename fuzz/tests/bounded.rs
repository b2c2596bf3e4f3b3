//! Shows that no target finds anything in seconds, and that whoever drives them notices what they are looked at for: panics, deaths,
//! hangs, too much memory. `FARETRA_FUZZ_SECONDS` makes each target run longer, `FARETRA_FUZZ_SEED` elsewhere.

use std::path::{Path, PathBuf};
use std::time::Duration;

use faretra_fuzz::drive::{Drive, End, drive, once};
use faretra_fuzz::targets::{PLANTED, TARGETS, Target, find};

fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().unwrap_or_else(|error| panic!("{variable}: {error}")))
}

fn plan(findings: &Path) -> Drive {
    Drive {
        program: PathBuf::from(env!("CARGO_BIN_EXE_faretra-fuzz")),
        seeds: Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds"),
        findings: findings.to_owned(),
        seed: number("FARETRA_FUZZ_SEED", 1),
        time: Duration::from_secs(number("FARETRA_FUZZ_SECONDS", 4)),
        inputs: u64::MAX,
        deadline: Duration::from_secs(30),
        memory: 1 << 30,
    }
}

/// A target finds nothing, and ran all of its seeds at least.
#[track_caller]
fn finds_nothing(name: &str) {
    let target = find(name).expect("a target");
    let findings = Path::new(env!("CARGO_TARGET_TMPDIR")).join("findings");
    let (inputs, found) = drive(&plan(&findings), target).expect("a child and files");
    let told: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{} findings in {inputs} inputs:\n{}", found.len(), told.join("\n"));
    let seeds = std::fs::read_dir(plan(&findings).seeds.join(target.seeds)).expect("seeds").count() as u64;
    assert!(inputs >= seeds.min(20), "{inputs} inputs of {seeds} seeds");
    eprintln!("{name}: {inputs} inputs");
}

macro_rules! targets {
    ($($test:ident: $name:literal,)*) => {
        $(#[test]
        fn $test() {
            finds_nothing($name);
        })*

        /// Each target has its test.
        #[test]
        fn all_targets_are_here() {
            assert_eq!([$($name),*].as_slice(), TARGETS.iter().map(|target| target.name).collect::<Vec<_>>());
        }
    };
}

targets! {
    damaged_arenas: "arena",
    parquet_files: "parquet",
    arrow_files: "arrow",
    arrow_streams: "arrow-stream",
    csv_files: "csv",
    npy_files: "npy",
    element_types: "dtype",
    command_lines: "words",
    all_names: "names",
}

/// What was planted is found, its input is saved, and the input alone shows it again.
#[test]
fn what_is_planted_is_found() {
    let findings = tempfile::tempdir().expect("a directory");
    let plan = Drive {
        time: Duration::from_secs(60),
        inputs: 400,
        deadline: Duration::from_millis(1000),
        seed: 1,
        ..plan(findings.path())
    };
    let ends = [End::Exited(101), End::Killed(6), End::Hung, End::Killed(6)];
    for (target, end) in PLANTED.iter().zip(ends) {
        let (inputs, found) = drive(&plan, target).expect("a child and files");
        let Some(first) = found.first() else { panic!("{}: nothing in {inputs} inputs", target.name) };
        assert_eq!((first.end, inputs), (end, 400), "{first}");
        assert!(std::fs::read(&first.input).expect("saved").contains(&b'!'));
        let again = once(&plan, target, &first.input).expect("a child").expect("it ends again");
        assert_eq!(again.0, end, "{}", again.1);
        let harmless = findings.path().join("harmless");
        std::fs::write(&harmless, "harmless").expect("written");
        assert!(once(&plan, target, &harmless).expect("a child").is_none());
    }
    let memory: &Target = &PLANTED[3];
    let (_, found) = drive(&plan, memory).expect("a child and files");
    assert!(found[0].said.contains("memory allocation of 8589934592 bytes failed"), "{}", found[0].said);
}

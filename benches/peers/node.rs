//! iceoryx2's node as the benches set it up, and what a run may leave behind.

use iceoryx2::port::listener::Listener;
use iceoryx2::port::notifier::Notifier;
use iceoryx2::prelude::{
    Config, FileName, LogLevel, Node, NodeBuilder, Path, SemanticString, ServiceName, SignalHandlingMode, ipc,
    set_log_level,
};

use crate::pair::Outcome;

/// The names of what goes out of a side, and of what comes in.
pub fn ways(side: usize) -> (&'static str, &'static str) {
    (["to", "fro"][side], ["to", "fro"][1 - side])
}

/// A node. Everything that it makes in the file system has the run's name, and lies in shared memory.
pub fn node(name: &str) -> Outcome<Node<ipc::Service>> {
    set_log_level(LogLevel::Error);
    let mut config = Config::default();
    config.global.prefix = FileName::new(format!("{name}-").as_bytes())?;
    config.global.set_root_path(&Path::new(format!("/dev/shm/{name}.files").as_bytes())?);
    let builder = NodeBuilder::new().config(&config).signal_handling_mode(SignalHandlingMode::Disabled);
    Ok(builder.create::<ipc::Service>()?)
}

/// A side's ends of two events, one each way.
pub fn events(node: &Node<ipc::Service>, side: usize) -> Outcome<(Notifier<ipc::Service>, Listener<ipc::Service>)> {
    let event = |name| -> Outcome<_> {
        let service = node.service_builder(&ServiceName::new(name)?).event();
        Ok(service.max_notifiers(1).max_listeners(1).open_or_create()?)
    };
    let (to, from) = ways(side);
    Ok((event(to)?.notifier_builder().create()?, event(from)?.listener_builder().create()?))
}

/// Everything in shared memory that has this run's name.
pub struct LeftBehind(pub String);

impl Drop for LeftBehind {
    fn drop(&mut self) {
        for entry in std::fs::read_dir("/dev/shm").into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(&self.0) {
                let path = entry.path();
                // What cannot be removed is gone already, or not ours.
                let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
            }
        }
    }
}

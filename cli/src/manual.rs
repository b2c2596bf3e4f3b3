//! What a shell and `man` know of the command: completions, and manual pages.

use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::generate;

use crate::args::{Cli, Completions, Man};
use crate::failure::{Context, Result};
use crate::out::Out;

/// `faretra completions`: a script for the shell, on standard output.
pub fn completions(args: &Completions) -> Result<()> {
    let (all, mut script) = (Cli::command(), Vec::new());
    // Without what is hidden, which some shells would show.
    let shown = clap::Command::new("faretra").args(all.get_arguments().cloned());
    let verbs = all.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned();
    generate(args.shell, &mut shown.subcommands(verbs), "faretra", &mut script);
    let mut out = Out::new();
    out.line(String::from_utf8_lossy(&script).trim_end())?;
    out.finish()
}

/// `faretra man`: a page for the command, and one for each of its verbs.
pub fn man(args: &Man) -> Result<()> {
    std::fs::create_dir_all(&args.into).doing("make", &args.into)?;
    let mut command = Cli::command();
    command.build();
    let mut pages: Vec<(PathBuf, clap::Command)> = vec![];
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set() && verb.get_name() != "help") {
        let name = format!("faretra-{}", verb.get_name());
        let page = verb.clone().display_name(name.clone()).bin_name(format!("faretra {}", verb.get_name()));
        pages.push((args.into.join(format!("{name}.1")), page));
    }
    pages.push((args.into.join("faretra.1"), command));
    let mut out = Out::new();
    for (file, page) in pages {
        let mut text = Vec::new();
        // No date: the same command has the same pages.
        clap_mangen::Man::new(page).date("").render(&mut text)?;
        std::fs::write(&file, text).doing("write", &file)?;
        out.line(file.display().to_string())?;
    }
    out.finish()
}

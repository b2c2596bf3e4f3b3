//! Statements as somebody types them.

use std::path::PathBuf;
use std::sync::atomic::Ordering;

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use faretra_cli::sql::{Failure, Out, Result, note, stdout_closed};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::rows::Engine;
use crate::run::Runner;

/// What the first line says.
const WELCOME: &str = "Statements end with `;`. \\d lists the tables, \\q or Ctrl-D leaves.";

/// Reads statements and runs them, until nobody types any more.
pub fn prompt(runner: &Runner<'_>, engine: &Engine) -> Result<()> {
    engine.note_interrupts(&runner.interrupted)?;
    let (arena, _) = runner.session.first()?;
    let mut editor = DefaultEditor::new().map_err(no_lines)?;
    let history = history();
    if let Some(file) = &history {
        // The first time there is none.
        let _ = editor.load_history(file);
    }
    say(WELCOME)?;
    let mut typed = String::new();
    loop {
        let prompt =
            if typed.is_empty() { format!("{arena}> ") } else { format!("{:>1$}> ", "..", arena.chars().count()) };
        match editor.readline(&prompt) {
            Ok(line) => {
                if typed.is_empty() && matches!(line.trim(), "\\q" | "exit" | "quit") {
                    break;
                }
                if !typed.is_empty() {
                    typed.push('\n');
                }
                typed.push_str(&line);
            }
            Err(ReadlineError::Interrupted) => {
                typed.clear();
                continue;
            }
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(no_lines(error)),
        }
        if typed.trim().is_empty() {
            typed.clear();
            continue;
        }
        if !typed.starts_with('\\') && !is_whole(&typed) {
            continue;
        }
        let text = std::mem::take(&mut typed);
        // A line that cannot be remembered can still be run.
        let _ = editor.add_history_entry(text.as_str());
        runner.interrupted.store(false, Ordering::Relaxed);
        if let Err(failure) = statement(&text).and_then(|text| runner.all(&text)) {
            if stdout_closed() {
                return Err(failure);
            }
            note(failure.into_text());
        }
    }
    if let Some(file) = &history
        && let Err(error) = editor.save_history(file)
    {
        note(format_args!("cannot keep what was typed in {}: {error}", file.display()));
    }
    Ok(())
}

/// The statement that a line stands for.
fn statement(text: &str) -> Result<String> {
    let Some(command) = text.strip_prefix('\\') else { return Ok(text.to_owned()) };
    let command = command.trim().trim_end_matches(';').trim_end();
    match command.split_once(char::is_whitespace) {
        None if matches!(command, "d" | "dt") => Ok("SHOW TABLES".to_owned()),
        Some(("d", name)) => Ok(format!("DESCRIBE {}", name.trim())),
        _ => Err(Failure::new(format!("`\\{command}` is unknown: \\d lists tables, \\d NAME columns, \\q leaves"))),
    }
}

/// Whether a text ends with the `;` of a statement, and not within a quote or comment.
fn is_whole(text: &str) -> bool {
    match Tokenizer::new(&GenericDialect {}, text).tokenize() {
        Ok(tokens) => {
            let last = tokens.iter().rev().find(|token| !matches!(token, Token::Whitespace(_)));
            matches!(last, Some(Token::SemiColon) | None)
        }
        // What more text does not mend is for the parser to tell.
        Err(error) => {
            let open = ["unterminated", "before eof", "unexpected eof"];
            let said = error.message.to_lowercase();
            !open.iter().any(|open| said.contains(open)) && text.trim_end().ends_with(';')
        }
    }
}

/// The file that keeps what was typed.
fn history() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")))?;
    let dir = state.join("faretra");
    std::fs::create_dir_all(&dir).ok()?;
    Some(dir.join("sql_history"))
}

fn say(text: &str) -> Result<()> {
    let mut out = Out::new();
    out.line(text)?;
    out.finish()
}

fn no_lines(error: ReadlineError) -> Failure {
    Failure::new(format!("cannot read from the terminal: {error}"))
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn a_statement_ends_with_its_own_semicolon() {
        for (text, whole) in [
            ("SELECT 1;", true),
            ("SELECT 1; -- done", true),
            ("SELECT 1", false),
            ("SELECT ';", false),
            ("SELECT 'a\n;b';", true),
            ("SELECT \";", false),
            ("SELECT 1 /* ;", false),
            ("SELECT 1 -- ;", false),
            ("-- nothing", true),
        ] {
            assert_eq!(is_whole(text), whole, "{text}");
        }
    }
}

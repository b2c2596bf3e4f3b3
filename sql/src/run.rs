//! Statements, one after the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::Statement as Sql;
use faretra_cli::sql::{self, Failure, Out, Result, plural};
use serde_json::json;

use crate::args::Args;
use crate::output::{Form, Output};
use crate::rows::{Engine, Next};
use crate::session::{Planned, Session, in_words};

/// Fails if the command line asks for what cannot be, before anything is opened.
pub fn check(args: &Args) -> Result<()> {
    Form::of(args).map(drop)
}

/// Runs statements as the command line says.
pub struct Runner<'a> {
    args: &'a Args,
    /// What they are about.
    pub session: &'a Session,
    engine: &'a Engine,
    prompted: bool,
    /// Set by Ctrl-C at a prompt.
    pub interrupted: Arc<AtomicBool>,
}

impl<'a> Runner<'a> {
    /// Of this command line. At a prompt, Ctrl-C ends a statement and not the process.
    pub fn new(args: &'a Args, session: &'a Session, engine: &'a Engine, prompted: bool) -> Runner<'a> {
        Runner { args, session, engine, prompted, interrupted: Arc::default() }
    }

    /// Runs the statements of a text. If one of them is no SQL, none is run.
    pub fn all(&self, text: &str) -> Result<()> {
        let statements = self.session.parse(text)?;
        let form = Form::of(self.args)?;
        let given: Vec<&Statement> = statements.iter().filter(|statement| gives_rows(statement)).collect();
        if self.args.into.is_some() && !(given.len() == 1 && given.iter().all(|statement| is_query(statement))) {
            return Err(Failure::usage(format!(
                "--into publishes what one query gives, and there {}: leave it out, or give one SELECT",
                match given.len() {
                    0 => "is none".to_owned(),
                    1 => "is another statement".to_owned(),
                    more => format!("are {more} statements that give rows"),
                }
            )));
        }
        if !form.takes_many() && given.len() != 1 {
            return Err(Failure::usage(format!(
                "the output is one file of one result, and {} here: give one such statement",
                match given.len() {
                    0 => "no statement gives rows".to_owned(),
                    more => format!("{more} statements give rows"),
                }
            )));
        }
        statements.into_iter().try_for_each(|statement| self.one(statement, form))
    }

    fn one(&self, statement: Statement, form: Form<'_>) -> Result<()> {
        if matches!(&statement, Statement::Statement(told) if matches!(**told, Sql::ShowTables { .. })) {
            return self.tables(form);
        }
        let into = self.args.into.clone().filter(|_| is_query(&statement));
        let publishes = into.is_some();
        let explains = matches!(statement, Statement::Explain(_));
        let go_on = || self.go_on(false);
        match self.engine.wait(self.session.clone().plan(statement, into), &go_on)? {
            Planned::Rows(stream, _) if publishes => self.publish(self.engine.start(stream, in_words)?),
            Planned::Rows(stream, unbounded) => {
                let mut rows = self.engine.start(stream, in_words)?;
                let mut output = match explains {
                    true => Output::of_plans(form, rows.schema())?,
                    false => Output::open(form, rows.schema())?,
                };
                if form.file.is_none() {
                    sql::last_words("what was written is not all of it");
                }
                loop {
                    match rows.next()? {
                        Next::Batch(batch) => {
                            output.write(&batch)?;
                            if unbounded && !rows.ready() {
                                output.flush()?;
                            }
                        }
                        Next::Idle => {}
                        Next::End => return output.finish(),
                    }
                    self.go_on(form.file.is_none())?;
                }
            }
            Planned::Done if self.prompted => {
                let mut out = Out::new();
                out.line("(done)")?;
                out.finish()
            }
            Planned::Done => Ok(()),
        }
    }

    /// Lists the tables that there are.
    pub fn tables(&self, form: Form<'_>) -> Result<()> {
        let tables = self.session.tables()?;
        let mut output = Output::open(form, tables.schema_ref())?;
        output.write(&tables)?;
        output.finish()
    }

    /// Waits until the rows are published, and says so.
    fn publish(&self, mut counts: crate::rows::Rows<'_>) -> Result<()> {
        let mut rows = 0;
        loop {
            match counts.next()? {
                Next::Batch(batch) => {
                    let counts = batch.columns().first().and_then(|column| column.as_primitive_opt::<UInt64Type>());
                    rows += counts.map_or(0, |counts| counts.values().iter().sum::<u64>());
                }
                Next::Idle => {}
                Next::End => break,
            }
            self.go_on(false)?;
        }
        let (arena, _) = self.session.first()?;
        let name = self.args.into.as_deref().unwrap_or_default();
        let mut out = Out::new();
        match self.args.json {
            true => out.json(&json!({"arena": arena, "name": name, "rows": rows}))?,
            false => out.line(format!("{name}: {}", plural(rows, "row")))?,
        }
        out.finish()
    }

    /// Fails if the statement is to end: Ctrl-C, or nobody reads what it prints.
    fn go_on(&self, prints: bool) -> Result<()> {
        if self.prompted {
            return match self.interrupted.load(Ordering::Relaxed) {
                true => Err(Failure::new("cancelled")),
                false => Ok(()),
            };
        }
        if prints && sql::reader_gone() {
            return Err(Failure::new("nobody reads what is printed"));
        }
        sql::check_signals()
    }
}

fn is_query(statement: &Statement) -> bool {
    matches!(statement, Statement::Statement(told) if matches!(**told, Sql::Query(_)))
}

fn gives_rows(statement: &Statement) -> bool {
    match statement {
        Statement::Statement(told) => matches!(
            **told,
            Sql::Query(_)
                | Sql::Insert(_)
                | Sql::Explain { .. }
                | Sql::ExplainTable { .. }
                | Sql::Execute { .. }
                | Sql::ShowTables { .. }
                | Sql::ShowVariable { .. }
                | Sql::ShowColumns { .. }
        ),
        Statement::CopyTo(_) | Statement::Explain(_) => true,
        _ => false,
    }
}

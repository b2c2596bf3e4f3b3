//! The modules of a crate as its source has them, and what a path in one of them stands for.

use std::collections::BTreeMap;
use std::fs::read_to_string;
use std::path::Path;

use syn::punctuated::Punctuated;
use syn::{Attribute, Expr, ExprLit, Item, Lit, Meta, Token, UseTree};

/// The names of a module below the crate's root, outermost first; the root's are none.
pub type Module = Vec<String>;

/// What a path stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An item of this crate, by the module that defines it and its name there.
    Item(Module, String),
    /// A module of this crate.
    Module(Module),
    /// Something of another crate, by the path that names it.
    External(Vec<String>),
}

/// One name that a `use` brings into a module; of a glob, [`GLOB`].
pub struct Import {
    pub alias: String,
    pub path: Vec<String>,
}

/// The name that stands for everything that a module has.
pub const GLOB: &str = "*";

/// Every module of a crate, with its items. What is built for tests or for the proof alone is left out.
pub struct Sources {
    pub modules: BTreeMap<Module, Vec<Item>>,
}

impl Sources {
    /// Reads the crate whose root is the file `lib`, with every module that it names.
    pub fn read(lib: &Path) -> Result<Sources, String> {
        let mut sources = Sources { modules: BTreeMap::new() };
        sources.read_file(Vec::new(), lib)?;
        Ok(sources)
    }

    fn read_file(&mut self, module: Module, file: &Path) -> Result<(), String> {
        let text = read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let parsed = syn::parse_file(&text).map_err(|error| {
            let at = error.span().start();
            format!("{}:{}:{}: {error}", file.display(), at.line, at.column + 1)
        })?;
        let folder = match file.file_stem() {
            Some(stem) if stem != "lib" && stem != "mod" => file.with_file_name(stem),
            _ => file.parent().unwrap_or(Path::new(".")).to_owned(),
        };
        self.add(module, parsed.items, &folder)
    }

    /// Adds a module's items, and the modules that they name, whose files are in `folder`.
    pub fn add(&mut self, module: Module, items: Vec<Item>, folder: &Path) -> Result<(), String> {
        let mut kept = Vec::new();
        for mut item in items {
            if attributes(&item).iter().any(is_off) {
                continue;
            }
            if let Item::Mod(inner) = &mut item {
                let name = inner.ident.to_string();
                let mut path = module.clone();
                path.push(name.clone());
                match inner.content.take() {
                    Some((_, items)) => self.add(path, items, &folder.join(name))?,
                    None => {
                        let file = folder.join(format!("{name}.rs"));
                        let nested = folder.join(&name).join("mod.rs");
                        self.read_file(path, if nested.exists() { &nested } else { &file })?;
                    }
                }
            }
            kept.push(item);
        }
        self.modules.insert(module, kept);
        Ok(())
    }

    /// Follows `path` from `module` to what it stands for, through any number of `use`.
    pub fn find(&self, module: &[String], path: &[String]) -> Target {
        self.follow(module, path, 0)
    }

    fn follow(&self, module: &[String], path: &[String], depth: usize) -> Target {
        let external = || Target::External(path.to_vec());
        let Some((first, rest)) = path.split_first() else {
            return Target::Module(module.to_vec());
        };
        if depth > 32 {
            return external(); // a circle of imports, which the compiler refuses anyway
        }
        match first.as_str() {
            "crate" => return self.follow(&[], rest, depth + 1),
            "self" => return self.follow(module, rest, depth + 1),
            "super" => return self.follow(&module[..module.len().saturating_sub(1)], rest, depth + 1),
            _ => {}
        }
        let child = [module, std::slice::from_ref(first)].concat();
        if self.modules.contains_key(&child) {
            return self.follow(&child, rest, depth + 1);
        }
        let items = self.modules.get(module).map(Vec::as_slice).unwrap_or_default();
        if items.iter().any(|item| name(item).is_some_and(|name| name == *first)) {
            return Target::Item(module.to_vec(), first.clone());
        }
        for import in items.iter().flat_map(imports) {
            let names_itself = import.path.first() == Some(first) && import.path.len() == 1;
            if import.alias == *first && !names_itself {
                let through = [import.path.as_slice(), rest].concat();
                return self.follow(module, &through, depth + 1);
            }
        }
        for import in items.iter().flat_map(imports).filter(|import| import.alias == GLOB) {
            if let Target::Module(other) = self.follow(module, &import.path, depth + 1)
                && let found @ (Target::Item(..) | Target::Module(_)) = self.follow(&other, path, depth + 8)
            {
                return found;
            }
        }
        // A public name that no item has comes out of a macro of its module.
        let by_macro = items.iter().any(|item| matches!(item, Item::Macro(made) if made.ident.is_none()));
        if depth > 0 && by_macro && rest.is_empty() && first.starts_with(char::is_uppercase) {
            return Target::Item(module.to_vec(), first.clone());
        }
        external()
    }
}

/// The names that an item brings into its module, if it is a `use`.
pub fn imports(item: &Item) -> Vec<Import> {
    fn flatten(tree: &UseTree, before: &[String], found: &mut Vec<Import>) {
        match tree {
            UseTree::Path(path) => flatten(&path.tree, &[before, &[path.ident.to_string()]].concat(), found),
            UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, before, found)),
            UseTree::Name(name) if name.ident == "self" => {
                let alias = before.last().cloned().unwrap_or_default();
                found.push(Import { alias, path: before.to_vec() });
            }
            UseTree::Name(name) => {
                let alias = name.ident.to_string();
                found.push(Import { path: [before, std::slice::from_ref(&alias)].concat(), alias });
            }
            UseTree::Rename(name) => {
                let path = match name.ident.to_string() {
                    this if this == "self" => before.to_vec(),
                    other => [before, &[other]].concat(),
                };
                found.push(Import { alias: name.rename.to_string(), path });
            }
            UseTree::Glob(_) => found.push(Import { alias: GLOB.to_owned(), path: before.to_vec() }),
        }
    }
    let mut found = Vec::new();
    if let Item::Use(import) = item {
        flatten(&import.tree, &[], &mut found);
    }
    found
}

/// The name by which other code speaks of an item.
pub fn name(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        Item::Union(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}

/// The attributes of an item of any kind.
pub fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether an attribute takes its item out of what users can build against: `cfg(test)`, `cfg(feature = "proof")`.
pub fn is_off(attribute: &Attribute) -> bool {
    let is_cfg = attribute.path().is_ident("cfg");
    is_cfg && attribute.parse_args::<Meta>().is_ok_and(|condition| holds(&condition) == Some(false))
}

/// Whether a condition of `cfg` holds for users; none where it depends on their machine or choice.
fn holds(condition: &Meta) -> Option<bool> {
    match condition {
        Meta::Path(path) if path.is_ident("test") => Some(false),
        Meta::NameValue(pair) if pair.path.is_ident("feature") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(name), .. }) if name.value() == "proof" => Some(false),
            _ => None,
        },
        Meta::List(list) => {
            let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()?;
            let parts: Vec<Option<bool>> = parts.iter().map(holds).collect();
            match list.path.get_ident()?.to_string().as_str() {
                "not" => parts.first().copied()?.map(|holds| !holds),
                "all" if parts.contains(&Some(false)) => Some(false),
                "any" if parts.iter().all(|part| *part == Some(false)) => Some(false),
                _ => None,
            }
        }
        _ => None,
    }
}
